"""What a study's folder says of itself (``study.json``): what was asked, which prompts in which order, how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from eqlin_core import arguments
from eqlin_core.disk import read_file, write_file
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.studies.tables import COLUMNS, KEY, PROMPTS
from eqlin_core.version import __version__

if TYPE_CHECKING:
    from eqlin_core.studies.prompts import StudyPrompt

FORMAT = 1
NAME = "study.json"
_MOST_BYTES = 1 << 30
_LOCK = ".study.lock"
RUNNING, FINISHED, CANCELLED = "running", "finished", "cancelled"


class Notes:
    """The notes of a folder while a study runs there, begun anew or taken up.

    ``facts`` are what the file holds: see docs/studies.md. Raises EqlinError for a folder that holds something else,
    or a study that was asked for otherwise.
    """

    def __init__(self, folder: Path, prompts: Sequence[StudyPrompt], settings: Mapping[str, Any], source: str) -> None:
        self.folder = folder
        names = _names_in(folder)
        before = read_notes(folder) if NAME in names else None
        if before is None and names - {_LOCK}:
            raise InvalidValue(f"The folder {arguments.short(folder.name)} holds other things: name a new one.")
        self.was_finished = before is not None and before["state"] == FINISHED
        own = json.loads(json.dumps(dict(settings)))
        for name, value in own.items() if before else ():
            assert before is not None
            had = before["settings"].get(name)
            if had != value:
                raise InvalidValue(
                    f"The study in {arguments.short(folder.name)} has {name} {arguments.shown(had)}, not "
                    f"{arguments.shown(value)}: ask for the same, or name another folder."
                )
        known = before["columns"] if before else {}
        self.columns = known | {
            n: kind if known.get(n, kind) == kind else "string" for n, kind in _kinds(prompts).items()
        }
        self.facts: dict[str, Any] = {
            "format": FORMAT,
            "eqlin": __version__,
            "state": RUNNING,
            "prompts": source,
            "settings": own,
            "columns": self.columns,
            "models": before["models"] if before else [],
            "keys": list(dict.fromkeys([one.key for one in prompts] + (before["keys"] if before else []))),
            "plans": before["plans"] if before else [],
            "began": before["began"] if before else _now(),
            "ended": "",
            "rows": 0,
            "failed": 0,
        }

    def typed(self, prompts: Iterable[StudyPrompt]) -> list[StudyPrompt]:
        """The prompts with their other columns as the table has them."""
        return [
            replace(one, given={name: _as(one.given.get(own), self.columns[name]) for own, name in _names(one.given)})
            for one in prompts
        ]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the context no other process may write there. Raises EqlinError where one does."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / _LOCK)
            lock.acquire(timeout=0)
        except Timeout:
            raise EqlinError(f"Another process runs a study in {arguments.short(self.folder.name)}.") from None
        except OSError as error:
            said = error.strerror or type(error).__name__
            raise EqlinError(f"{arguments.short(str(self.folder))} cannot be written to ({said}).") from error
        try:
            yield
        finally:
            lock.release()

    def begin_model(self, name: str, plan: str) -> None:
        """Note that a model is about to be measured, and its plan."""
        if name not in self.facts["models"]:
            self.facts["models"].append(name)
        self.facts["plans"].append(plan)
        self.write(RUNNING)

    @property
    def order(self) -> list[tuple[str, str]]:
        """(model, key) in the order of the tables' rows."""
        return [(model, key) for model in self.facts["models"] for key in self.facts["keys"]]

    def write(self, state: str, there: Mapping[tuple[str, str], str] | None = None) -> None:
        """Write the file; ``there`` are the prompts that have rows, with their sentences."""
        self.facts["state"] = state
        self.facts["ended"] = "" if state == RUNNING else _now()
        if there is not None:
            self.facts |= {"rows": len(there), "failed": sum(map(bool, there.values()))}
        content = json.dumps(self.facts, indent=1, ensure_ascii=False)
        write_file(self.folder / NAME, content.encode("utf-8", "surrogatepass"), "The study's notes")


def is_study(folder: Path) -> bool:
    """Whether a study was begun in the folder. Raises EqlinError where that is no folder."""
    return NAME in _names_in(folder)


def _names_in(folder: Path) -> set[str]:
    """What lies in a folder; nothing in one that is not there yet."""
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise InvalidValue(f"{arguments.short(folder.name)} is no folder for a study ({said}).") from error


def read_notes(folder: Path) -> dict[str, Any]:
    """What a folder says of its study. Raises EqlinError for one that says nothing, or nothing that can be read."""
    name = arguments.short(folder.name)
    try:
        found = json.loads(read_file(folder / NAME, "The study's notes", _MOST_BYTES))
    except FileNotFoundError as error:
        raise EqlinError(f"The folder {name} holds no study: there is no {NAME}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise EqlinError(f"{NAME} in {name} cannot be read.") from error
    kinds = {
        "format": int, "state": str, "settings": dict, "columns": dict, "models": list, "keys": list, "plans": list,
        "began": str,
    }  # fmt: skip
    if not isinstance(found, dict) or any(not isinstance(found.get(n), kind) for n, kind in kinds.items()):
        raise EqlinError(f"{NAME} in {name} is not that of a study.")
    if found["format"] != FORMAT:
        raise EqlinError(f"The study in {name} was written by another version of eqlin ({found.get('eqlin', '?')}).")
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _names(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(a column of the prompts' file, what it is called in the table): those of the study keep their names."""
    own = {**KEY, **COLUMNS[PROMPTS]}
    return [(name, f"given_{name}" if name in own else name) for name in given]


def _kinds(prompts: Sequence[StudyPrompt]) -> dict[str, str]:
    """The types of the prompts' other columns: numbers or truth values where all are, else texts."""
    found: dict[str, str] = {}
    for one in prompts:
        for own, name in _names(one.given):
            kind = _kind(one.given[own])
            if kind:
                before = found.get(name, kind)
                both = {before, kind}
                found[name] = kind if before == kind else "float64" if both == {"int64", "float64"} else "string"
            else:
                found.setdefault(name, "")
    return {name: kind or "string" for name, kind in found.items()}


def _kind(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return "int64"
    return "float64" if isinstance(value, float) else "string"


def _as(value: Any, kind: str) -> Any:
    if value is None or kind == "bool":
        return value
    if kind == "float64":
        return float(value)
    if kind == "int64":
        return int(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
