"""What has just finished, said to screen readers: a line that nobody sees, whose text changes when an answer comes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from html import escape

import streamlit as st

from pages.visit.page_jobs import page_jobs
from pages.visit.session import session
from pages.visit.tab import of_this_tab

KEY = "announced"  # of the container, which look.py takes out of the page's flow


@dataclass
class Told:
    """What was said last, and of which answers; ``known`` are those that were there then."""

    said: str = ""
    known: set[Hashable] = field(default_factory=set)


def announce() -> None:
    """Draw the line: what has finished since it was drawn last, until something else does."""
    told, state = of_this_tab("told", Told), session()
    jobs = {**state.jobs.snapshots, **page_jobs().jobs.snapshots}
    done = {(name, job.key): job.label for name, job in jobs.items() if job.state == "done"}
    if fresh := dict.fromkeys(label for key, label in done.items() if key not in told.known):
        told.said = f"Finished: {', '.join(fresh)}."
    told.known = set(done)
    with st.container(key=KEY):
        st.html(f'<div role="status" aria-live="polite">{escape(told.said)}</div>')
