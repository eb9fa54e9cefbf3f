"""Whether the weights on the disk are still those that were fetched: their checksums, compared in the background.

The copy of the default model carries the checksum of every file in its manifest, written when it was converted; the
hub's cache names its files by theirs. Other folders belong to whoever made them, and have none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from pathlib import Path
from typing import Any, Literal

from eqlin_core import arguments
from eqlin_core.cache import cache_directory
from eqlin_core.disk import read_file, write_whole
from eqlin_core.errors import Cancelled, EqlinError
from eqlin_core.models import sealed
from eqlin_core.progress import Progress, report

# A copy is read once in this time; a file whose size or time has changed counts as not read.
EVERY_SECONDS = 24 * 3600.0
# Bytes a second in the background: the default model takes 5 s of a tenth of a core, and an analysis does not feel it.
BACKGROUND_PACE = 100e6
_PIECE = 1 << 20
# The revision of a model that was built in memory: the folder that its configuration remembers may hold other weights.
IN_MEMORY = "unsaved"
_WEIGHTS = (".safetensors", ".bin", ".gguf")

State = Literal["waiting", "reading", "intact", "changed", "unknown"]


def verify_weights(folder: Path, progress: Progress | None = None, *, pace: float | None = None) -> str | None:
    """What is wrong with the weights in a folder, in one sentence; None where every known checksum is right.

    ``pace`` bounds the bytes read a second. ``progress`` may cancel. That they were right is written down in the cache.
    """
    known = checksums(arguments.path("folder", folder))
    arguments.called("progress", progress)
    seen = _state(known)
    changed = _changed(known, progress, pace)
    if changed:
        listed = ", ".join(sorted(arguments.short(path.name) for path in changed)[:3])
        return f"The weights on the disk have changed since they were fetched ({listed}): fetch the model again."
    if known:
        _write_down(folder, seen)
    return None


def checksums(folder: Path) -> dict[Path, str]:
    """The SHA-256 of every file whose checksum is known: of the manifest, or as the hub names it; empty without any."""
    found: dict[Path, str] = {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, EqlinError):
        manifest = json.loads(read_file(folder / sealed.MANIFEST, "The manifest", sealed.MOST))
        found = {folder / Path(name).name: str(wanted["sha256"]) for name, wanted in manifest["files"].items()}
    if not found and folder.is_dir():
        for file in folder.iterdir():
            blob = file.resolve().name
            if file.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob):
                found[file] = blob
    return found


def weights_of(lm: Any, progress: Progress | None = None) -> dict[str, str]:
    """The SHA-256 of every file of weights that a model was read from, by name; empty for one that was in memory.

    Every file is read as it is now: of the default model 0.6 s. ``progress`` may cancel.
    """
    from eqlin_core.models.language_model import checked_model  # noqa: PLC0415 - heavy

    arguments.called("progress", progress)
    folder = folder_of(checked_model(lm))
    if folder is None or lm.revision == IN_MEMORY:
        return {}
    files = sorted(file for file in folder.iterdir() if file.suffix in _WEIGHTS and file.is_file())
    found = {}
    for i, file in enumerate(files):
        report(progress, i / len(files), "Reading the weights")
        found[file.name] = sealed.sha256(file)
    return found


def is_due(folder: Path) -> bool:
    """Whether the weights in a folder have checksums and were not read within a day, or have changed since."""
    known = checksums(folder)
    if not known:
        return False
    try:
        record = json.loads(read_file(_record(folder), "The record", sealed.MOST))
        age = time.time() - float(record["at"])
        return not (0 <= age < EVERY_SECONDS and record["files"] == _state(known))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, EqlinError):
        return True


def mark_verified(folder: Path) -> None:
    """Write down that the weights in a folder are right: their checksums were just taken."""
    _write_down(folder, _state(checksums(folder)))


def discard_weights(folder: Path) -> None:
    """Throw away the damaged files of a copy that eqlin or the hub's cache keeps; the next load fetches them again.

    Raises EqlinError for a folder that is neither: what lies there is not eqlin's.
    """
    if (folder / sealed.MANIFEST).exists():
        (folder / sealed.MANIFEST).unlink()
        return
    known = checksums(folder)
    if not known:
        raise EqlinError(f"{arguments.short(str(folder), 200)} is no copy that eqlin fetched: mend it by hand.")
    for file in _changed(known, None, None):
        with contextlib.suppress(OSError):
            file.resolve().unlink(missing_ok=True)
        file.unlink(missing_ok=True)


def folder_of(lm: Any) -> Path | None:
    """The folder that a model was read from; None for one that was in memory, or in a single file."""
    place = getattr(lm.config, "_name_or_path", "")
    with contextlib.suppress(OSError, ValueError):
        if place and Path(place).is_dir():
            return Path(place)
    return None


class WeightsCheck:
    """The check of one folder on a thread of its own, slow enough that nothing else feels it; ended by ``stop``.

    ``state``: "waiting", "reading", "intact", "changed" (then ``sentence`` says it), or "unknown": no checksums, read
    within a day, or not readable now.
    """

    def __init__(self, folder: Path | None, pace: float = BACKGROUND_PACE) -> None:
        self.folder, self._pace = folder, pace
        self.state: State = "waiting"
        self.sentence: str | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="weights", daemon=True)

    def start(self) -> WeightsCheck:
        """Begin, once; when the first analysis is there, say."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End soon; the model is let go of."""
        self._stopped.set()

    def wait(self, seconds: float | int | None = None) -> State:
        """The state when the check has ended, or after so long."""
        self._thread.join(seconds)
        return self.state

    def _run(self) -> None:
        try:
            if self.folder is None or not is_due(self.folder):
                self.state = "unknown"
                return
            self.state = "reading"
            going: Progress = lambda _fraction, _message: not self._stopped.is_set()  # noqa: E731
            self.sentence = verify_weights(self.folder, going, pace=self._pace)
            self.state = "intact" if self.sentence is None else "changed"
        except (EqlinError, OSError):
            self.state = "unknown"


def _changed(known: dict[Path, str], progress: Progress | None, pace: float | None) -> list[Path]:
    """The files whose contents are others, or that are gone or cannot be read."""
    total = sum(_size(file) for file in known) or 1
    began, done, changed = time.monotonic(), 0, []
    for file, wanted in known.items():
        digest = hashlib.sha256()
        try:
            with file.open("rb") as opened:
                while piece := opened.read(_PIECE):
                    digest.update(piece)
                    done += len(piece)
                    report(progress, min(1.0, done / total), "Checking the weights on the disk")
                    if pace is not None:
                        time.sleep(max(0.0, done / pace - (time.monotonic() - began)))
        except Cancelled:
            raise
        except OSError:
            changed.append(file)
            continue
        if digest.hexdigest() != wanted:
            changed.append(file)
    return changed


def _size(file: Path) -> int:
    with contextlib.suppress(OSError):
        return file.stat().st_size
    return 0


def _state(known: dict[Path, str]) -> list[list[Any]]:
    found: list[list[Any]] = []
    for file, wanted in sorted(known.items()):
        with contextlib.suppress(OSError):
            status = file.stat()
            found.append([file.name, status.st_size, status.st_mtime_ns, wanted])
    return found


def _record(folder: Path) -> Path:
    digest = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return cache_directory() / "verified" / f"{digest[:32]}.json"


def _write_down(folder: Path, seen: list[list[Any]]) -> None:
    with contextlib.suppress(OSError, EqlinError):  # a cache that cannot be written: it is read again next time
        write_whole(_record(folder), json.dumps({"at": time.time(), "files": seen}).encode(), folders=True)
