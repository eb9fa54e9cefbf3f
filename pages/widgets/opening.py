"""Opening a kept run: the sidebar's form takes what was asked, and the answers stand there without being computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.figures import visible_token
from eqlin_core.runs.chat import read_chat
from eqlin_core.runs.convention import share_text
from pages.visit.shelf import keeping, request_of
from pages.widgets.dials import ASK_AGAIN
from pages.worker.request import PRECISIONS, Request

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
    ask_for(request_of(run))


def ask_for(request: Request) -> None:
    """Fill the sidebar's form, which then submits itself; called before the page is drawn, as by a button."""
    state = st.session_state
    state["prompt"], state["model"], state["dtype"] = request.prompt, request.model, request.dtype
    state["gated_path"], state["attention"] = share_text(request.gated_path), share_text(request.attention)
    state["begin"], state["as_chat"] = request.begin, request.chat
    state["answer"], state["position"] = request.answer, request.position
    state[ASK_AGAIN] = True


def title(run: KeptRun, most: int = 60) -> str:
    """What a run is called: its name, or the beginning of its prompt and the token that it predicts."""
    text = run.name or " ".join(_last_words(run).split())
    text = text if len(text) <= most else text[: most - 1] + "…"
    follows = " ".join(run.answer.split()) if run.answer and run.position is None else ""
    follows = follows if len(follows) <= most // 2 else follows[: most // 2 - 1] + "…"
    follows = follows or visible_token(run.predicted).lstrip("·") if run.predicted or follows else ""
    at = "" if run.position is None else f" (position {run.position})"
    return text + at if run.name or not follows else f"{text}{at} → {follows}"


def _last_words(run: KeptRun) -> str:
    """What was asked last: the prompt, of a chat the user's last message."""
    said = [m["content"] for m in read_chat(run.prompt) if m["role"] == "user"] if run.chat else []
    return said[-1] if said else run.prompt
