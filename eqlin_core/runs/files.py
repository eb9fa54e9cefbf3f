"""Finished runs in files: numbers and texts only, so that a file from anywhere can be opened without running its code.

A file is an ``.npz`` archive: the arrays, and as JSON everything else with the places where the arrays belong.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Hashable
from dataclasses import fields
from pathlib import Path
from typing import cast

import numpy as np

from eqlin_core import arguments
from eqlin_core.cache import cache_directory
from eqlin_core.disk import open_file, sweep, unfinished_bytes, write_file
from eqlin_core.errors import EqlinError, InvalidType, InvalidValue
from eqlin_core.runs.kept import KeptRun, check_kept
from eqlin_core.runs.kinds import ANSWERS, Answer
from eqlin_core.runs.packing import packed, unpacked
from eqlin_core.runs.reading import MOST_BYTES, MOST_TEXT, ArrayFile, check_object
from eqlin_core.version import engine_fingerprint

FORMAT = 1
LIMIT_BYTES = 128 << 20
_HEADER, SUMMARY = "header", "summary"
Run = Answer | KeptRun
RUNS = (*ANSWERS, KeptRun)


def save_run(run: Run, path: str | Path) -> None:
    """Write a run to a file, whole or not at all. Raises EqlinError when it cannot be written."""
    arguments.instance("run", run, RUNS, "a finished result, such as a TokenRun or a SpectrumRun")
    place = arguments.path("path", path)
    arrays: dict[str, np.ndarray] = {}
    if isinstance(run, KeptRun):  # so that a list of runs need not be read whole
        asked = {f.name: getattr(run, f.name) for f in fields(run) if f.name != "answers"}
        arrays[SUMMARY] = np.frombuffer(json.dumps(asked).encode(), dtype=np.uint8)
    header = json.dumps({"format": FORMAT, "run": packed(run, arrays)}, separators=(",", ":"))
    arrays[_HEADER] = np.frombuffer(header.encode(), dtype=np.uint8)
    write_file(place, lambda file: np.savez(file, allow_pickle=False, **arrays), "The run", folders=True)


def load_run(path: str | Path) -> Run:
    """The run that `save_run` wrote. Raises EqlinError for a file that is damaged or holds something else."""
    place = arguments.path("path", path)
    name = arguments.short(place.name)
    try:
        with open_file(place, "The run", MOST_BYTES) as handle:
            file = ArrayFile(handle)
            header = json.loads(_text(file[_HEADER]))
            if header["format"] != FORMAT:
                raise EqlinError(f"{name} was written by another version of eqlin: compute the run again.")
            run = unpacked(header["run"], file)
        if isinstance(run, RUNS):
            check_object(run)
        if isinstance(run, KeptRun):
            check_kept(run)
    except Exception as error:  # what a changed byte of an archive makes of it is nobody's list
        if isinstance(error, EqlinError) and not isinstance(error, InvalidType | InvalidValue):  # said of the file
            raise
        raise EqlinError(f"{name} holds no run of eqlin, or is damaged: compute the run again.") from error
    if not isinstance(run, RUNS):
        raise EqlinError(f"{name} holds no run of eqlin: choose a file that save_run wrote.")
    return cast(Run, run)


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

    def get(self, key: Hashable) -> Run | None:
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

    def has(self, key: Hashable) -> bool:
        """Whether there is a file of this key, which was not read."""
        return self._path(key).exists()

    def put(self, key: Hashable, run: Run) -> None:
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
