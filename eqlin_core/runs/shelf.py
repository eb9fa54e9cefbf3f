"""Kept runs in a folder, one file each: listed without reading them, renamed, pinned, removed when room is needed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Lock

from eqlin_core import arguments
from eqlin_core.disk import open_file, sweep
from eqlin_core.errors import EqlinError
from eqlin_core.runs.files import SUMMARY, load_run, save_run
from eqlin_core.runs.kept import KeptRun, check_kept
from eqlin_core.runs.reading import ArrayFile, check_object

LIMIT_BYTES = 1 << 30
MOST_RUN_BYTES = 128 << 20
_MOST_SUMMARY = 4 << 20
_GONE = "This run is not there any more."


@dataclass(frozen=True)
class Entry:
    """One run on the shelf without its answers; ``size`` in bytes, ``used`` when it was written last, in seconds."""

    id: str
    run: KeptRun
    size: int
    used: float


class Shelf:
    """The kept runs in a folder. Those that are not pinned go, the oldest first, beyond ``limit`` bytes."""

    def __init__(self, directory: Path, limit: int = LIMIT_BYTES) -> None:
        self._folder, self._limit = directory, limit
        self._summaries: dict[tuple[str, float, int], KeptRun] = {}
        self._changing = Lock()  # a file is read, added to and written by one thread at a time
        with contextlib.suppress(EqlinError):
            sweep(directory)

    def entries(self) -> list[Entry]:
        """What is on the shelf, the latest first; a file that cannot be read is left out."""
        found, known = [], self._summaries
        self._summaries = {}
        for file in self._folder.glob("*.npz") if self._folder.is_dir() else ():
            with contextlib.suppress(EqlinError, OSError):
                stat = file.stat()
                key = (file.stem, stat.st_mtime, stat.st_size)
                self._summaries[key] = known[key] if key in known else _summary(file)
                found.append(Entry(file.stem, self._summaries[key], stat.st_size, stat.st_mtime))
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def put(self, run: KeptRun) -> str:
        """Write a run; its id. What the file of the same analysis holds already stays in it. Raises EqlinError."""
        id = id_of(run)
        with self._changing:
            there = self.get(id)
            save_run(run if there is None else there.with_answers(run), self._path(id))
            self._make_room(id)
        return id

    def get(self, id: str) -> KeptRun | None:
        """The run of this id; None where there is none, or its file is damaged."""
        try:
            path = self._path(id)
            run = load_run(path) if path.is_file() else None
        except EqlinError:
            return None
        return run if isinstance(run, KeptRun) else None

    def change(self, id: str, *, name: str | None = None, note: str | None = None, pinned: bool | None = None) -> None:
        """Write something on a run, or pin it. Raises EqlinError where it is gone."""
        with self._changing:
            run = self.get(id)
            if run is None:
                raise EqlinError(_GONE)
            save_run(run.marked(name=name, note=note, pinned=pinned), self._path(id))

    def remove(self, id: str) -> None:
        """Take a run away; nothing happens where there is none."""
        with contextlib.suppress(OSError):
            self._path(id).unlink(missing_ok=True)

    def _make_room(self, but: str) -> None:
        """Remove the oldest until the rest fits; what is pinned, and the run ``but``, count and stay."""
        entries = self.entries()
        stays = {entry.id for entry in entries if entry.run.pinned or entry.id == but}
        total = sum(entry.size for entry in entries if entry.id in stays)
        for entry in entries:
            if entry.id not in stays:
                total += entry.size
                if total > self._limit:
                    self.remove(entry.id)

    def _path(self, id: str) -> Path:
        if not re.fullmatch("[0-9a-f]{16}", id):  # it may come from an address
            raise EqlinError(_GONE)
        return self._folder / f"{id}.npz"


def id_of(run: KeptRun) -> str:
    """The name of a run's file: the same for the same analysis."""
    asked: tuple[object, ...] = (run.prompt, run.model, run.dtype, str(run.gated_path), str(run.attention), run.begin)
    if run.chat or run.answer or run.position is not None:  # without these it is called what it always was
        asked = (*asked, run.chat, run.answer, run.position)
    return hashlib.sha256(repr(asked).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _summary(file: Path) -> KeptRun:
    """A file's run without its answers. Raises EqlinError for anything else."""
    try:
        with open_file(file, "The run", MOST_RUN_BYTES) as handle:
            content = ArrayFile(handle)[SUMMARY]
        if content.nbytes > _MOST_SUMMARY:
            raise ValueError("too long")
        known = {f.name: f.type for f in fields(KeptRun)}
        said = json.loads(content.tobytes())
        run = KeptRun(**{name: value for name, value in said.items() if name in known and name != "answers"})
        check_object(run)
        check_kept(run)
        return run
    except EqlinError:
        raise
    except Exception as error:  # what a changed byte makes of it is nobody's list
        raise EqlinError(f"{arguments.short(file.name)} is no kept run, or is damaged.") from error
