"""The runs that are kept: what a tab's jobs end in goes there by itself, and comes back without being computed.

On one's own machine they stand in the user's data directory. A public server keeps them for the tab that asked, in
memory, until it is closed.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import streamlit as st

from eqlin_core.cache import data_directory
from eqlin_core.errors import EqlinError
from eqlin_core.runs.kept import KeptRun
from eqlin_core.runs.kinds import is_answer
from eqlin_core.runs.prompt import TokenRun
from eqlin_core.runs.shelf import Entry, Shelf, id_of
from pages.door.settings import settings
from pages.visit.tab import of_this_tab
from pages.worker.job import bytes_of
from pages.worker.question import Question
from pages.worker.request import Request

SWITCH = "EQLIN_KEPT_RUNS"
IN_MEMORY, MEMORY_BYTES = 12, 128 << 20
_WRITER = ThreadPoolExecutor(1, "eqlin-shelf")


class Place(Protocol):
    """Where kept runs stand."""

    def entries(self) -> list[Entry]:
        """What is there, the latest first."""

    def put(self, run: KeptRun) -> str:
        """Add a run, or to it."""

    def get(self, id: str) -> KeptRun | None:
        """The run of this id."""

    def change(self, id: str, *, name: str | None = None, note: str | None = None, pinned: bool | None = None) -> None:
        """Write something on a run, or pin it."""

    def remove(self, id: str) -> None:
        """Take a run away."""


class InMemory:
    """The runs of one tab of a public server: the last few, which nobody else sees."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, KeptRun] = OrderedDict()

    def entries(self) -> list[Entry]:
        """What is there, the latest first."""
        latest = reversed(list(enumerate(self._runs.items())))
        return [Entry(id, replace(run, answers={}), bytes_of(run.answers), float(i)) for i, (id, run) in latest]

    def put(self, run: KeptRun) -> str:
        """Add a run, or to it; the oldest goes where there are too many."""
        id = id_of(run)
        there = self._runs.pop(id, None)
        if there is not None:
            run = there.with_answers(run)
        self._runs[id] = run
        while len(self._runs) > 1 and (len(self._runs) > IN_MEMORY or self._size() > MEMORY_BYTES):
            self._runs.popitem(last=False)
        return id

    def get(self, id: str) -> KeptRun | None:
        """The run of this id."""
        return self._runs.get(id)

    def change(self, id: str, *, name: str | None = None, note: str | None = None, pinned: bool | None = None) -> None:
        """Write something on a run, or pin it."""
        if id in self._runs:
            self._runs[id] = self._runs[id].marked(name=name, note=note, pinned=pinned)

    def remove(self, id: str) -> None:
        """Take a run away."""
        self._runs.pop(id, None)

    def _size(self) -> int:
        return sum(bytes_of(run.answers) for run in self._runs.values())


class Keeping:
    """What one tab keeps: every answer about the prompt that was asked for last; and the run that it has opened."""

    def __init__(self, place: Place | None) -> None:
        self.place = place
        self.opened: KeptRun | None = None
        self.asked: Request | None = None
        self.whole: Request | None = None  # the same with its answer
        self._noted: set[tuple[Request, str]] = set()
        self._predicted: dict[Request, str] = {}  # also by a run that is shipped, and not kept again

    def note(self, question: Question[Any], result: Any) -> None:
        """Keep an answer that was computed: its file is written beside the script, which waits for no disk."""
        asked = next((a for a in (self.asked, self.whole) if a is not None and _belongs(question, a)), None)
        if self.place is None or asked is None or not is_answer(result):
            return
        if isinstance(result, TokenRun):
            if result.complete and result.targets:
                self._predicted[asked] = result.targets[0].token
            if not result.complete or result.shipped:
                return
        name = name_of(question)
        if (asked, name) in self._noted or self.answer(question) is not None:  # it is there, or comes from there
            return
        self._noted.add((asked, name))
        run = replace(_unanswered(asked, self._predicted.get(asked, "")), answers={name: result})
        if isinstance(self.place, Shelf):
            _WRITER.submit(_put, self.place, run)
        else:
            self.place.put(run)

    def answer(self, question: Question[Any]) -> Any:
        """The answer in the run that was opened; None where it has none, and where it is to be computed anew."""
        opened = self.opened
        if opened is None or not _belongs(question, request_of(opened)) or _is_fresh(question):
            return None
        found = opened.answers.get(name_of(question))
        if type(found).__name__ != question.gives:  # a file from anywhere may hold anything under any name
            return None
        return replace(found, saved=True) if isinstance(found, TokenRun) else found

    @property
    def links(self) -> bool:
        """Whether an address can name what is kept here: others find it, too."""
        return isinstance(self.place, Shelf)

    def link_of(self, request: Request) -> str:
        """The id of this request's run for an address; empty where it is not kept, or for this tab alone."""
        if not isinstance(self.place, Shelf):
            return ""
        id = id_of(_unanswered(request))
        there = any(asked == request for asked, _ in self._noted) or any(e.id == id for e in self.place.entries())
        return id if there else ""


def written() -> None:
    """Wait until everything that was noted is in its file."""
    _WRITER.submit(lambda: None).result()


def keeping() -> Keeping:
    """This browser tab's keeping."""
    return of_this_tab("keeping", lambda: Keeping(_place()))


def name_of(question: Question[Any]) -> str:
    """What an answer stands under in a kept run: the question's name, and a hash of the map and all that was asked."""
    where, about, *rest = question.key
    name = str(where).rpartition(".")[2]
    by = about.convention.words if isinstance(about, Request) else ""
    asked = [False if _is_fresh(question) and part is True else part for part in rest]
    return f"{name}-{sha256(repr((by, asked)).encode()).hexdigest()[:12]}"


def request_of(run: KeptRun) -> Request:
    """What was asked for."""
    return Request(
        run.prompt,
        run.model,
        run.dtype,
        run.gated_path,
        run.attention,
        run.begin,
        run.chat,
        run.answer,
        run.position,
    )


def _belongs(question: Question[Any], asked: Request) -> bool:
    """Whether a question is about this prompt, by whatever map, or about its model alone."""
    about = question.about
    if not isinstance(about, Request):
        return False
    if not about.prompt:
        return (about.model, about.dtype) == (asked.model, asked.dtype)
    return about.by(asked.convention) == asked


def _is_fresh(question: Question[Any]) -> bool:
    """Whether it asks for what is saved to be computed all the same."""
    return str(question.key[0]).rpartition(".")[2] in ("tokens", "spectra") and True in question.key[2:3]


def _unanswered(request: Request, predicted: str = "") -> KeptRun:
    """A run of this request, without answers."""
    return KeptRun(
        request.prompt,
        request.model,
        request.dtype,
        request.gated_path,
        request.attention,
        request.begin,
        datetime.now(UTC).isoformat(timespec="seconds"),
        predicted,
        chat=request.chat,
        answer=request.answer,
        position=request.position,
    )


def _put(shelf: Shelf, run: KeptRun) -> None:
    """Write an answer down. What cannot be written is not kept: it can be computed again."""
    with contextlib.suppress(EqlinError):
        shelf.put(run)


def _place() -> Place | None:
    switch = os.environ.get(SWITCH, "")
    if switch == "0":
        return None
    return InMemory() if settings().public else _shelf(switch)


@st.cache_resource(show_spinner=False)
def _shelf(folder: str) -> Shelf:
    return Shelf(Path(folder) if folder else data_directory() / "runs")
