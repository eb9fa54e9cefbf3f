"""How the page Steering follows its jobs: progress, a working Stop, and the texts as they are generated."""

from __future__ import annotations

import streamlit as st

from eqlin_core.figures.steered_text import marked_html
from pages.steered.sliders import nearest, shown_strength
from pages.steered.state import Steering, steering
from pages.visit.polling import poll
from pages.visit.progress_line import progress_line
from pages.widgets.sentences import shortened
from pages.widgets.theme import theme

POLL_SECONDS = 0.35


def watch(state: Steering) -> None:
    """Draw the progress of what is under way, then a sentence on what went wrong or was stopped."""
    st.session_state["steering_streams"] = state.streaming
    poll(_follow, going_on=lambda: steering().busy, seconds=POLL_SECONDS)
    kept = " What you see below is the previous result." if state.shown is not None else ""
    with st.container():  # there without a sentence, too, so that none moves the texts and charts below
        if state.error:
            st.error(shortened(state.error) + kept, icon=":material/error:")
        elif state.stopped and not state.busy:
            complete = state.shown is not None and state.asked is not None and state.shown.plan == state.asked[1]
            st.caption("Stopped; what had been finished is kept." if complete else f"Stopped.{kept}")


def _follow(active: bool) -> None:
    now = steering()
    was_streaming = now.streaming
    if active and (now.advance() or not now.busy or was_streaming != st.session_state.get("steering_streams")):
        st.session_state["steering_streams"] = was_streaming
        st.rerun(scope="app")
    job = now.live or now.generated
    if job is None or job.finished:
        return
    progress_line(job, "Stop", now.jobs.cancel, key="steering_progress", button="stop")
    if now.live is not None and now.shown is not None:
        grid = now.shown
        st.header(f"Steered, λ = {shown_strength(now.live_strength)}")
        own = grid.texts[grid.unsteered].text
        st.html(marked_html(grid.plan.prompt, job.partial.get("text", ""), own, theme()))
    elif now.streaming:
        _growing(now, job.partial["texts"])


def _growing(state: Steering, rows: list[str]) -> None:
    """Both texts while their tokens come."""
    assert state.asked is not None
    plan = state.asked[1]
    rest = 1.0 if plan.form == "interpolation" else 0.0
    own = plan.strengths.index(tuple(rest for _ in plan.strengths[0]))
    chosen = nearest(plan.strengths, (float(st.session_state.get("lambda", 1.0)), 0.0))
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Unsteered")
        st.html(marked_html(plan.prompt, rows[own], rows[own], theme()))
    with right:
        st.header(f"Steered, λ = {plan.strengths[chosen][0]:.2f}")
        st.html(marked_html(plan.prompt, rows[chosen], rows[own], theme()))
