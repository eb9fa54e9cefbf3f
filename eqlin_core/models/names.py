"""What a model's name can mean, known before anything is fetched: the default, a preset, a folder, a file, a hub id."""

from __future__ import annotations

import contextlib
import difflib
import re
from pathlib import Path

from eqlin_core.errors import EqlinError
from eqlin_core.models import bundled
from eqlin_core.models.files import configuration_file, weight_files
from eqlin_core.models.presets import PRESETS


def check_name(name: str) -> None:
    """Raise EqlinError, with one sentence, for a name that leads nowhere as far as this machine can tell."""
    if name == bundled.NAME or name in PRESETS:
        return
    path = local(name)
    if path is None:
        require_hub_id(name, name)
    elif path.is_dir():
        configuration_file(path)
        weight_files(path, name)
    else:
        require_file(path)


def hub_id_of(name: str) -> str:
    """What the hub calls the model."""
    return PRESETS[name].hub_id if name in PRESETS else name


def hint(name: str) -> str:
    """A guess at what was meant, to be put into a sentence; empty where there is none."""
    close = difflib.get_close_matches(name, [bundled.NAME, *PRESETS], n=1)
    return f" (did you mean {close[0]!r}?)" if close and name not in PRESETS else ""


def local(name: str) -> Path | None:
    """The folder or GGUF file that the name means; None where it means neither (a pasted prompt, say)."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        path = Path(name).expanduser()
        if path.suffix == ".gguf" or path.is_dir():
            return path
    return None


def require_hub_id(hub_id: str, name: str) -> None:
    """Raise EqlinError, about the name that was given, for what cannot be the id of a model on the hub."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", hub_id):
        raise EqlinError(f"There is no model or folder {name[:80]!r}{hint(name)}: check the spelling.")


def require_file(path: Path) -> None:
    """Raise EqlinError where there is no such file."""
    if not path.is_file():
        raise EqlinError(f"There is no file {path}: check the path.")
