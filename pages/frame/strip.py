"""The status strip on every page: what ran, what it predicts, whether it is exact, and how a job is getting on."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.figures import visible_token
from pages.frame.address import address_button
from pages.frame.announce import announce
from pages.frame.badge import badge
from pages.visit.polling import poll
from pages.visit.progress_line import progress_line
from pages.visit.session import Session, session
from pages.widgets.facts import fact, strip_of
from pages.widgets.present import presents
from pages.widgets.report import report_button
from pages.widgets.sentences import shortened

if TYPE_CHECKING:
    from eqlin_core.runs.exactness import Exactness
    from eqlin_core.runs.prompt import TokenRun

_MEANING = {
    "precision": "The precision of every number on this page.",
    "map": "Which of the exact maps this is: the linear path of gated MLPs, and of attention where it is not held.",
    "saved": "Computed then, on this machine, by this version of eqlin. Analyse computes it again.",
    "example": "Computed by eqlin before it was shipped, and compared by a test. Analyse computes it on this machine.",
}

SHOWN_PREDICTIONS = 5


def strip() -> None:
    """Draw the strip for what is shown, then the progress of the jobs under way or the sentence of an error.

    Each has its place also while there is nothing to say: what comes and goes may not move what stands below it.
    """
    state = session()
    state.advance()
    with st.container():
        if state.tokens is not None:
            _facts(state, state.tokens)
    poll(_follow, going_on=lambda: session().busy or session().errands.busy)
    with st.container():
        _ended(state)
    announce()


def exact_now(state: Session) -> Exactness | None:
    """The exactness of what is shown: that of the matrix as well, once there is one."""
    if state.spectra is not None:
        return state.spectra.exactness
    return state.tokens.exactness if state.tokens is not None else None


def _facts(state: Session, run: TokenRun) -> None:
    count = f"{len(run.tokens)} token" + ("s" if len(run.tokens) != 1 else "")
    facts = [("model", run.key.model), ("precision", run.key.dtype), ("device", run.device), ("map", _map(run))]
    facts.append(("prompt" if state.plain else "text up to here", count))
    if presents():
        del facts[2]
    elif run.shipped:
        facts.insert(-1, ("example", f"shipped with {run.shipped}"))
    elif run.saved:
        facts.insert(-1, ("saved", f"{datetime.fromisoformat(run.made).astimezone():%d %b %H:%M}"))
    predicted = " ".join(  # at the spaces the line may be broken
        f'<span class="eq-chip">{escape(visible_token(t.token))}</span><span class="eq-p">{t.probability:.1%}</span>'
        for t in run.targets[:SHOWN_PREDICTIONS]
    )
    cells = [fact(name, value, _MEANING.get(name, "")) for name, value in facts]
    with st.container(key="strip"):
        wide, narrow = st.columns([2, 1], vertical_alignment="center")
        wide.html(strip_of(*cells, *([] if presents() else [fact("next token", beside=predicted)])))
        exactness = exact_now(state)
        with (
            narrow,
            st.container(horizontal=True, gap="small", vertical_alignment="center", horizontal_alignment="right"),
        ):
            if exactness is not None:
                badge(exactness, run)
            else:
                st.caption("exactness follows")
            with st.container(horizontal=True, gap="small", width="content", vertical_alignment="center", key="chores"):
                _chores(state, run)


def _chores(state: Session, run: TokenRun) -> None:
    """What can be done with an analysis, which is hidden while it is presented."""
    if state.shown is not None:
        address_button(state.shown_whole or state.shown)
    st.button(
        "Pin",
        key="pin",
        on_click=state.pin,
        type="tertiary",
        help="Set this analysis aside as A; page Compare shows what is analysed next beside it.",
    )
    if run.complete and state.shown is not None:
        report_button(run, state.shown, "report", spectra=state.spectra)


def _map(run: TokenRun) -> str:
    convention = run.key.convention
    return f"{convention.words} (as published)" if convention.published else convention.words


def _ended(state: Session) -> None:
    """That the analysis was cancelled or has failed, and what is shown all the same."""
    if state.cancelled and not state.busy:
        complete = state.shown == state.asked and state.tokens is not None and state.tokens.complete
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                "Cancelled before the spectra were finished; the contributions are complete."
                if complete
                else "Cancelled. What you see below is what had been finished before."
            )
            st.button(
                "Compute the spectra" if complete else "Analyse again",
                key="resume",
                on_click=state.resume,
                type="tertiary",
                icon=":material/replay:",
            )
    if damage := state.damage:
        with st.container(horizontal=True, vertical_alignment="center", key="damage"):
            st.error(shortened(damage) + " The numbers below may come from damaged weights.", icon=":material/error:")
            st.button("Fetch again", key="fetch-again", on_click=state.fetch_again, icon=":material/download:")
    if state.error:
        kept = " What you see below is the previous result." if state.tokens is not None else ""
        st.error(shortened(state.error) + kept, icon=":material/error:")


def _follow(_active: bool) -> None:
    now = session()
    if (now.busy and now.advance()) or (now.errands.busy and now.errands.advance()):
        st.rerun(scope="app")
    current = now.jobs.current
    if current is not None:
        progress_line(current, "Cancel", now.jobs.cancel, key="progress", button="cancel")
        if plan := current.partial.get("plan"):
            st.caption(plan)
    fetched = now.errands.current
    if fetched is not None:
        progress_line(fetched, "Cancel", now.errands.cancel, key="fetching", button="cancel-fetch")
