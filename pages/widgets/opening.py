"""Opening a kept run: the sidebar's form takes what was asked, and the answers stand there without being computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.figures import visible_token
from eqlin_core.runs.convention import share_text
from pages.visit.shelf import keeping
from pages.widgets.dials import ASK_AGAIN
from pages.worker.request import PRECISIONS

if TYPE_CHECKING:
    from eqlin_core.runs.kept import KeptRun

GONE = "run_gone"


def open_run(id: str) -> None:
    """Show a kept run; called before the page is drawn, as by a button. What is gone is said."""
    place = keeping().place
    run = None if place is None else place.get(id)
    if run is None:
        st.session_state[GONE] = True
        return
    if run.dtype not in PRECISIONS:  # as a run of another program may be
        return
    keeping().opened = run
    state = st.session_state
    state["prompt"], state["model"], state["dtype"], state["begin"] = run.prompt, run.model, run.dtype, run.begin
    state["gated_path"], state["attention"] = share_text(run.gated_path), share_text(run.attention)
    state[ASK_AGAIN] = True


def title(run: KeptRun, most: int = 60) -> str:
    """What a run is called: its name, or the beginning of its prompt and the token that it predicts."""
    text = run.name or " ".join(run.prompt.split())
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text if run.name or not run.predicted else f"{text} → {visible_token(run.predicted).lstrip('·')}"
