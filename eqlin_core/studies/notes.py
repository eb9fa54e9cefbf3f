"""What a study's folder says of itself (``study.json``): what was asked, which prompts in which order, how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from eqlin_core import arguments
from eqlin_core.disk import read_file, write_file
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.studies.tables import COLUMNS, KEY, PROMPTS, name_of
from eqlin_core.version import __version__

if TYPE_CHECKING:
    from eqlin_core.studies.prompts import StudyPrompt

FORMAT = 1
NAME = "study.json"
_MOST_BYTES = 1 << 30
_LOCK = ".study.lock"
KINDS = frozenset({"bool", "int64", "float64", "string"})  # of columns that prompts bring
RUNNING, FINISHED, CANCELLED = "running", "finished", "cancelled"


class Notes:
    """The notes of a folder while a study runs there, begun anew or taken up.

    ``facts`` are what the file holds: see docs/studies.md. Raises EqlinError for a folder that holds something else,
    or a study that was asked for otherwise.
    """

    def __init__(self, folder: Path, prompts: Sequence[StudyPrompt], settings: Mapping[str, Any], source: str) -> None:
        self.folder, self._source = folder, source
        self._prompts, self._settings = prompts, json.loads(json.dumps(dict(settings)))
        self._take_up()

    def _take_up(self) -> None:
        """Read what is there, and begin anew or take it up."""
        folder, own = self.folder, self._settings
        names = _names_in(folder)
        before = read_notes(folder) if NAME in names else None
        if before is None and any(not name.startswith(".") for name in names):
            raise InvalidValue(f"The folder {name_of(folder)} holds other things: name a new one.")
        self._is_new = before is None
        self.was_finished = before is not None and before["state"] == FINISHED
        for name, value in own.items() if before else ():
            assert before is not None
            had = before["settings"].get(name)
            if had != value:
                raise InvalidValue(
                    f"The study in {name_of(folder)} has {name} {arguments.shown(had)}, not "
                    f"{arguments.shown(value)}: ask for the same, or name another folder."
                )
        known = before["columns"] if before else {}
        kinds = _kinds(self._prompts)
        self.columns = known | {n: _joined(known.get(n, ""), kind) or "string" for n, kind in kinds.items()}
        self.facts: dict[str, Any] = {
            "format": FORMAT,
            "eqlin": __version__,
            "state": RUNNING,
            "prompts": self._source,
            "settings": own,
            "columns": self.columns,
            "models": before["models"] if before else [],
            "keys": list(dict.fromkeys([one.key for one in self._prompts] + (before["keys"] if before else []))),
            "plans": before["plans"] if before else [],
            "began": before["began"] if before else _now(),
            "ended": "",
            "rows": 0,
            "failed": 0,
        }

    def typed(self) -> list[StudyPrompt]:
        """The prompts with their other columns as the table has them."""
        return [
            replace(one, given={name: _as(one.given[own], self.columns[name]) for own, name in _names(one.given)})
            for one in self._prompts
        ]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the context no other process may write there; what is there is read again, since one may have.

        Raises EqlinError where one does.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / _LOCK)
            lock.acquire(timeout=0)
        except Timeout:
            raise EqlinError(f"Another process runs a study in {name_of(self.folder)}.") from None
        except OSError as error:
            said = error.strerror or type(error).__name__
            raise EqlinError(f"{arguments.short(str(self.folder))} cannot be written to ({said}).") from error
        try:
            self._take_up()
            yield
        finally:
            lock.release()

    def begin(self) -> None:
        """Say in a new folder that it is a study's, before anything else is there."""
        if self._is_new:
            self.write(RUNNING)

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
        raise InvalidValue(f"{name_of(folder)} is no folder for a study ({said}).") from error


def read_notes(folder: Path) -> dict[str, Any]:
    """What a folder says of its study. Raises EqlinError for one that says nothing, or nothing that can be read."""
    name = name_of(folder)
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
    texts = (*found["models"], *found["keys"], *found["columns"].values())
    if not all(isinstance(one, str) for one in texts) or not set(found["columns"].values()) <= KINDS:
        raise EqlinError(f"{NAME} in {name} is not that of a study.")
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _names(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(a column of the prompts' file, what it is called in the table): those of the study keep their names."""
    own = {**KEY, **COLUMNS[PROMPTS]}
    called = {name: name for name in given if name not in own}
    for name in given:
        if name in own:
            other = f"given_{name}"
            while other in called.values():
                other = f"given_{other}"
            called[name] = other
    return [(name, called[name]) for name in given]


def _kinds(prompts: Sequence[StudyPrompt]) -> dict[str, str]:
    """The types of the prompts' other columns: numbers or truth values where all are, else texts; "" where none is."""
    found: dict[str, str] = {}
    for one in prompts:
        for own, name in _names(one.given):
            found[name] = _joined(found.get(name, ""), _kind(one.given[own]))
    return found


def _joined(one: str, other: str) -> str:
    """The type of a column that has values of both; "" is that of one without any."""
    if not one or not other or one == other:
        return one or other
    return "float64" if {one, other} == {"int64", "float64"} else "string"


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
    if not isinstance(value, str):
        as_json = isinstance(value, bool | int | float | list | tuple | Mapping)
        value = json.dumps(value, ensure_ascii=False, default=str) if as_json else str(value)
    return value.encode("utf-8", "replace").decode()  # half of a surrogate pair stands in no file
