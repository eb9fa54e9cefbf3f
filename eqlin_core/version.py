"""Which eqlin this is: its version, where it lies, and a fingerprint of everything that its numbers depend on."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__version__ = "0.1.0"

PACKAGE = Path(__file__).resolve().parent
# What draws or talks changes no number: figures, reports, the command, and in an installed package the dashboard.
_NO_NUMBERS = ("figures", "reports", "command", "__main__.py", "dashboard")
_LIBRARIES = ("torch", "transformers", "numpy", "scipy")


@functools.cache
def engine_fingerprint() -> str:
    """What the numbers depend on beside a run's key: this engine's code and the libraries under it."""
    digest = hashlib.sha256()
    for file in engine_files(PACKAGE):
        digest.update(file.relative_to(PACKAGE).as_posix().encode())
        digest.update(file.read_bytes())
    for library in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            digest.update(f"{library} {version(library)}".encode())
    return digest.hexdigest()


def engine_files(package: Path) -> list[Path]:
    """Every source file of the package, in sub-packages too, that can change a number; no figure and no command can."""
    return sorted(f for f in package.rglob("*.py") if f.relative_to(package).parts[0] not in _NO_NUMBERS)
