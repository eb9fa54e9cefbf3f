"""How the page Steering follows its jobs: progress, a working Cancel, and the texts as they are generated."""

from __future__ import annotations

import streamlit as st

from eqlin_core.figures.steered_text import marked_html
from pages.steered.sliders import growing, kept, nearest
from pages.steered.state import Steering, steering
from pages.visit.polling import poll
from pages.visit.progress_line import progress_line
from pages.widgets.sentences import shortened
from pages.widgets.theme import theme

POLL_SECONDS = 0.35


LINE = 44  # pixels that are kept for the progress, so that nothing below it moves


def watch(state: Steering) -> None:
    """Draw the progress of what is under way, or a sentence on what went wrong or was stopped, in one place."""
    st.session_state["steering_streams"] = state.streaming
    poll(_follow, going_on=lambda: steering().busy, seconds=POLL_SECONDS)


def growing_texts() -> None:
    """Reserve the place of both texts while their tokens come."""
    poll(_grow, going_on=lambda: steering().streaming, seconds=POLL_SECONDS)


def _follow(active: bool) -> None:
    now = steering()
    was_streaming = now.streaming
    if active and (now.advance() or not now.busy or was_streaming != st.session_state.get("steering_streams")):
        st.session_state["steering_streams"] = was_streaming
        st.rerun(scope="app")
    job = now.live or now.generated
    under_way = job is not None and not job.finished
    with st.container(height="content" if now.error and not under_way else LINE, border=False, key="steering-line"):
        if job is not None and under_way:
            progress_line(job, "Cancel", now.jobs.cancel, key="steering_progress", button="stop")
        else:
            _ended(now)


def _ended(state: Steering) -> None:
    """What went wrong or was stopped."""
    previous = " What you see below is the previous result." if state.shown is not None else ""
    if state.error:
        st.error(shortened(state.error) + previous, icon=":material/error:")
    elif state.stopped and not state.busy:
        complete = state.shown is not None and state.asked is not None and state.shown.plan == state.asked[1]
        st.caption("Cancelled; what had been finished is kept." if complete else f"Cancelled.{previous}")


def _grow(_active: bool) -> None:
    state = steering()
    job = state.generated
    if not state.streaming or job is None or state.asked is None:
        return
    plan, rows = state.asked[1], job.partial["texts"]
    own, chosen = plan.unsteered, nearest(plan.strengths, kept(len(plan.strengths[0])))
    unsteered, steered = (marked_html(plan.prompt, rows[row], rows[own], theme()) for row in (own, chosen))
    growing(plan.strengths[chosen], unsteered, steered)
