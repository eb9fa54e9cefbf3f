"""The models that lie on this disk, in the hub's cache or as eqlin's copy of the default: listed, and deleted."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from eqlin_core.disk import read_file
from eqlin_core.errors import EqlinError
from eqlin_core.models import bundled, sealed
from eqlin_core.models.files import MOST_TEXT, configuration_file, parameters_in, weight_files
from eqlin_core.models.presets import PRESETS

_PREFIX = "models--"


@dataclass(frozen=True)
class Copy:
    """A model in a cache: the ``folder`` that goes when it is deleted, and the bytes in it.

    ``whole``: whether it can be loaded without fetching anything. ``parameters``: counted in the headers of its files;
    None where it is not whole, or quantised.
    """

    name: str
    folder: Path
    nbytes: int
    whole: bool
    parameters: int | None = None


def on_disk() -> dict[str, Copy]:
    """Every model in the caches by its name, presets by theirs, the default first and then the biggest."""
    found = [_hub_copy(folder) for folder in _hub_cache().glob(f"{_PREFIX}*") if folder.is_dir()]
    default = bundled.final_directory()
    if default.is_dir():
        whole = (default / sealed.MANIFEST).is_file()
        found.append(Copy(bundled.NAME, default, _bytes_in(default), whole, parameters_of(default) if whole else None))
    found.sort(key=lambda copy: (copy.name != bundled.NAME, -copy.nbytes, copy.name))
    return {copy.name: copy for copy in found}


def delete(copy: Copy) -> None:
    """Delete a model from its cache. Raises EqlinError with one sentence where that cannot be done."""
    if copy.folder != bundled.final_directory() and (
        copy.folder.parent != _hub_cache() or not copy.folder.name.startswith(_PREFIX)
    ):
        raise EqlinError(f"{copy.name} is in no cache of eqlin's or the hub's: delete it by hand.")
    try:
        if (manifest := copy.folder / sealed.MANIFEST).is_file():
            manifest.unlink()  # first, so that what is half deleted is never taken for whole
        shutil.rmtree(copy.folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise EqlinError(
            f"{copy.name} cannot be deleted: look at who may write in its cache ({error.strerror or error})."
        ) from error


def _hub_cache() -> Path:
    from huggingface_hub import constants  # noqa: PLC0415 - reads the environment when it is imported

    return Path(constants.HF_HUB_CACHE)


def _hub_copy(folder: Path) -> Copy:
    hub_id = folder.name.removeprefix(_PREFIX).replace("--", "/")
    name = next((name for name, preset in PRESETS.items() if preset.hub_id == hub_id), hub_id)
    snapshot = _snapshot(folder)
    whole = snapshot is not None and _is_whole(snapshot)
    return Copy(name, folder, _bytes_in(folder), whole, parameters_of(snapshot) if snapshot and whole else None)


def _snapshot(folder: Path) -> Path | None:
    """The folder of the main branch's files, as the hub's cache keeps them."""
    with contextlib.suppress(OSError, ValueError):
        commit = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
        snapshot = folder / "snapshots" / commit
        if commit and snapshot.is_dir():
            return snapshot
    return None


def _is_whole(snapshot: Path) -> bool:
    with contextlib.suppress(OSError, EqlinError):
        configuration_file(snapshot)
        return bool(weight_files(snapshot, snapshot.name))
    return False


def parameters_of(directory: Path) -> int | None:
    """How many weights the files of a folder's model hold; None where they do not say, and for a quantised one."""
    with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError, EqlinError):
        config = json.loads(read_file(configuration_file(directory), "The configuration", MOST_TEXT))
        if config.get("quantization_config") is None:
            return sum(parameters_in(file) for file in weight_files(directory, directory.name))
    return None


def _bytes_in(folder: Path) -> int:
    """The size of every file, each once: what only points to another file counts for nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
    return total
