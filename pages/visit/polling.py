"""Parts of a page that redraw themselves while a job is under way: reserved where they belong, drawn last of all.

A part that polls asks the server for the first time a moment after the browser got it. Drawn in the midst of a run, its
request can meet the very end of that run, and then Streamlit drops what the browser has not got yet: the page stays
unfinished, or breaks. Drawn last, it asks when everything else has arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import streamlit as st

POLL_SECONDS = 0.4


class _Part(NamedTuple):
    place: Any
    draw: Callable[[bool], None]
    going_on: Callable[[], bool]
    seconds: float


_parts: ContextVar[list[_Part] | None] = ContextVar("parts", default=None)


def begin() -> None:
    """First line of app.py: from here on parts that poll wait for ``draw_parts``."""
    _parts.set([])


def poll(draw: Callable[[bool], None], going_on: Callable[[], bool], seconds: float = POLL_SECONDS) -> None:
    """Reserve a place here for what ``draw(active)`` draws, again every ``seconds`` while the job is under way.

    ``going_on()`` is asked once, when the part is drawn at the end of the run; its answer is ``active``.
    """
    part = _Part(st.container(), draw, going_on, seconds)
    waiting = _parts.get()
    if waiting is None:  # outside app.py
        _draw(part)
    else:
        waiting.append(part)


def draw_parts() -> None:
    """Last line of app.py: draw the parts that were reserved in this run."""
    waiting = _parts.get() or []
    _parts.set(None)
    for part in waiting:
        _draw(part)


def _draw(part: _Part) -> None:
    active = part.going_on()

    @st.fragment(run_every=part.seconds if active else None)
    def redrawn() -> None:
        part.draw(active)

    with part.place:
        redrawn()
