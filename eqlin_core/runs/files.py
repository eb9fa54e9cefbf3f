"""Finished runs in files: numbers and texts only, so that a file from anywhere can be opened without running its code.

A file is an ``.npz`` archive: the arrays, and as JSON everything else with the places where the arrays belong.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eqlin_core import arguments
from eqlin_core.cache import cache_directory
from eqlin_core.disk import open_file, sweep, unfinished_bytes, write_file
from eqlin_core.errors import EqlinError
from eqlin_core.runs.exactness import Exactness
from eqlin_core.runs.prompt import RunKey, SpectrumRun, Target, TokenRun
from eqlin_core.runs.reading import MOST_BYTES, MOST_TEXT, ArrayFile, check_object
from eqlin_core.runs.treatments import Treatment
from eqlin_core.version import engine_fingerprint

FORMAT = 1
LIMIT_BYTES = 128 << 20
_CLASSES = {kind.__name__: kind for kind in (RunKey, Target, TokenRun, SpectrumRun, Exactness, Treatment)}
_HEADER = "header"


def save_run(run: TokenRun | SpectrumRun, path: str | Path) -> None:
    """Write a run to a file, whole or not at all. Raises EqlinError when it cannot be written."""
    arguments.instance("run", run, (TokenRun, SpectrumRun), "a TokenRun or a SpectrumRun")
    place = arguments.path("path", path)
    arrays: dict[str, np.ndarray] = {}
    header = json.dumps({"format": FORMAT, "run": _packed(run, arrays)})
    arrays[_HEADER] = np.frombuffer(header.encode(), dtype=np.uint8)
    write_file(place, lambda file: np.savez(file, allow_pickle=False, **arrays), "The run", folders=True)


def load_run(path: str | Path) -> TokenRun | SpectrumRun:
    """The run that `save_run` wrote. Raises EqlinError for a file that is damaged or holds something else."""
    place = arguments.path("path", path)
    name = arguments.short(place.name)
    try:
        with open_file(place, "The run", MOST_BYTES) as handle:
            file = ArrayFile(handle)
            header = json.loads(_text(file[_HEADER]))
            if header["format"] != FORMAT:
                raise EqlinError(f"{name} was written by another version of eqlin: compute the run again.")
            run = _unpacked(header["run"], file)
        if isinstance(run, TokenRun | SpectrumRun):
            check_object(run)
    except EqlinError:
        raise
    except Exception as error:  # what a changed byte of an archive makes of it is nobody's list
        raise EqlinError(f"{name} holds no run of eqlin, or is damaged: compute the run again.") from error
    if not isinstance(run, TokenRun | SpectrumRun):
        raise EqlinError(f"{name} holds no run of eqlin: choose a file that save_run wrote.")
    return run


def _text(content: np.ndarray) -> str:
    if content.dtype != np.uint8 or content.nbytes > MOST_TEXT:
        raise ValueError("no text")
    return content.tobytes().decode()


class RunStore:
    """A folder of runs by key, the least recently used removed first beyond ``limit`` bytes.

    What it holds can be made again, so nothing that goes wrong with its files is an error: the run is just not there.
    """

    def __init__(self, directory: Path | None = None, limit: int = LIMIT_BYTES) -> None:
        self._directory, self._limit = directory, limit
        with contextlib.suppress(EqlinError):
            sweep(self._folder)

    def get(self, key: Hashable) -> TokenRun | SpectrumRun | None:
        """The run of this key, or None."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            run = load_run(path)
            os.utime(path)
        except (EqlinError, OSError):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        return run

    def put(self, key: Hashable, run: TokenRun | SpectrumRun) -> None:
        """Keep a run, unless it alone would take more than a quarter of the room."""
        path = self._path(key)
        with contextlib.suppress(EqlinError, OSError):
            save_run(run, path)
            if path.stat().st_size > self._limit // 4:
                path.unlink()
            self._make_room()

    def _make_room(self) -> None:
        kept = sorted(((f.stat().st_mtime, f.stat().st_size, f) for f in self._folder.glob("*.npz")), reverse=True)
        total = unfinished_bytes(self._folder)
        for _, size, file in kept:
            total += size
            if total > self._limit:
                file.unlink(missing_ok=True)

    def _path(self, key: Hashable) -> Path:
        digest = hashlib.sha256(repr((key, engine_fingerprint())).encode()).hexdigest()
        return self._folder / f"{digest[:32]}.npz"

    @property
    def _folder(self) -> Path:
        return self._directory or cache_directory() / "runs"


def _packed(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"array{len(arrays)}"
        # What was computed in float32 takes half the room in it, and comes back as it was.
        with np.errstate(over="ignore"):
            narrow = value.astype(np.float32) if value.dtype == np.float64 else value
        if np.array_equal(narrow, value, equal_nan=value.dtype.kind == "f"):
            arrays[name] = narrow
            return {"array": name, "dtype": value.dtype.name}
        arrays[name] = value
        return {"array": name}
    if is_dataclass(value) and not isinstance(value, type):
        return {
            "class": type(value).__name__,
            "fields": {f.name: _packed(getattr(value, f.name), arrays) for f in fields(value)},
        }
    if isinstance(value, tuple):
        return {"tuple": [_packed(v, arrays) for v in value]}
    if isinstance(value, list):
        return [_packed(v, arrays) for v in value]
    return value


def _unpacked(value: Any, arrays: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        array = arrays[value["array"]]
        return array.astype(np.float64) if value.get("dtype") == "float64" else array
    if "tuple" in value:
        return tuple(_unpacked(v, arrays) for v in value["tuple"])
    return _CLASSES[value["class"]](**{name: _unpacked(v, arrays) for name, v in value["fields"].items()})
