"""A job under way in one line: how far it is, what it waits for, and a button that ends it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from eqlin_core.figures import format_number
from pages.worker.job import Snapshot


def progress_line(snapshot: Snapshot, word: str, stop: Callable[[], None], *, key: str, button: str) -> None:
    """Draw the line in a container called ``key``; the button says ``word`` and calls ``stop``."""
    with st.container(horizontal=True, vertical_alignment="center", key=key):
        st.progress(min(snapshot.fraction or 0.0, 1.0), text=describe(snapshot))
        st.button(word, key=button, on_click=stop, disabled=snapshot.cancelling, width="content")


def describe(snapshot: Snapshot) -> str:
    """One line on how a job stands, with its place in the queue or the time left."""
    if snapshot.cancelling:
        return "Cancelling"
    if snapshot.state == "queued":
        return f"{_before(snapshot)}, then {snapshot.label}"
    text = snapshot.message or f"Computing {snapshot.label}"
    if snapshot.fraction:
        text += f", {snapshot.fraction:.0%}"
    if snapshot.state == "paused" and not snapshot.beside:
        return f"{text}; gives way to {snapshot.behind or 'others'}, then goes on"
    if snapshot.seconds_left is not None:
        text += f", about {_duration(snapshot.seconds_left)} left"
    return text


def _before(snapshot: Snapshot) -> str:
    """What a job waits for, and how long if that is known."""
    if snapshot.ahead == 0:
        return "Waiting"
    others = snapshot.behind if snapshot.ahead == 1 else f"{snapshot.behind} and {snapshot.ahead - 1} more"
    known = "" if snapshot.starts_in is None else f", about {_duration(snapshot.starts_in)}"
    return f"Waiting for {others}{known}"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{format_number(seconds / 60)} min"
