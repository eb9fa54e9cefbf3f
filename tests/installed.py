"""The package as a user has it: built as a wheel, installed into a virtual environment outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Installed:
    """A wheel, the environment that it is installed in, and a folder to work in that is no checkout."""

    wheel: Path
    environment: Path
    folder: Path

    @property
    def python(self) -> Path:
        """The environment's Python."""
        return self._program("python")

    @property
    def eqlin(self) -> Path:
        """The console command."""
        return self._program("eqlin")

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder, as if there were no checkout."""
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env=self.variables,
            check=check,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of this process, without what leads Python to a checkout."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return kept | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "80"}

    def names(self) -> list[str]:
        """The files in the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            return archive.namelist()

    def _program(self, name: str) -> Path:
        windows = os.name == "nt"
        return self.environment / ("Scripts" if windows else "bin") / (f"{name}.exe" if windows else name)


def install(folder: Path) -> Installed:
    """Build the wheel and install it below ``folder``.

    What the package needs comes from the running environment, which has it: the new one reads its site-packages, after
    its own.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    # --no-build-isolation: hatchling is among the tests' requirements, so no package index is asked
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, "wheel", str(REPOSITORY), *options], check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (folder / "elsewhere").mkdir()
    installed = Installed(wheel, environment, folder / "elsewhere")
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(installed.run(installed.python, "-c", where).stdout.strip())
    seen = dict.fromkeys([sysconfig.get_path("purelib"), *(p for p in sys.path if p.endswith("-packages"))])
    (own / "beside.pth").write_text("\n".join(seen))
    subprocess.run(
        [*pip, "--python", str(installed.python), "install", "--no-deps", "--no-index", str(wheel)], check=True
    )
    return installed
