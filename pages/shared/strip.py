"""The status strip on every page: what ran, what it predicts, whether it is exact, and how a job is getting on."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.figures import format_number, visible_token
from pages.shared.badge import badge
from pages.shared.facts import fact, strip_of
from pages.shared.job import Snapshot
from pages.shared.session import Session, session

if TYPE_CHECKING:
    from eqlin_core.exactness import Exactness
    from eqlin_core.runs import TokenRun

_MEANING = {
    "dtype": "The precision of every number on this page.",
    "linear path": "Which factor of the gated MLPs stays linear; the other is held at its value for this prompt.",
    "saved": "Computed then, on this machine, by this version of eqlin. Analyse computes it again.",
}

POLL_SECONDS = 0.4
SHOWN_PREDICTIONS = 5


def strip() -> None:
    """Draw the strip for what is shown, then the sentence of an error or the progress of the jobs under way."""
    state = session()
    state.advance()
    if state.tokens is not None:
        _facts(state, state.tokens)
    _progress(state)
    if state.error:
        kept = " What you see below is the previous result." if state.tokens is not None else ""
        st.error(state.error + kept, icon=":material/error:")


def exact_now(state: Session) -> Exactness | None:
    """The exactness of what is shown: that of the matrix as well, once there is one."""
    if state.spectra is not None:
        return state.spectra.exactness
    return state.tokens.exactness if state.tokens is not None else None


def _facts(state: Session, run: TokenRun) -> None:
    count = f"{len(run.tokens)} token" + ("s" if len(run.tokens) != 1 else "")
    facts = [
        ("model", run.key.model),
        ("dtype", run.key.dtype),
        ("device", run.device),
        ("linear path", run.key.gated_path),
        ("prompt", count),
    ]
    if run.saved:
        facts.insert(-1, ("saved", f"{datetime.fromisoformat(run.made).astimezone():%d %b %H:%M}"))
    predicted = "".join(
        f'<span class="eq-chip">{escape(visible_token(t.token))}</span><span class="eq-p">{t.probability:.1%}</span>'
        for t in run.targets[:SHOWN_PREDICTIONS]
    )
    cells = [fact(name, value, _MEANING.get(name, "")) for name, value in facts]
    with st.container(key="strip"):
        wide, narrow = st.columns([5, 1], vertical_alignment="center")
        wide.html(strip_of(*cells, fact("next token", beside=predicted)))
        exactness = exact_now(state)
        with narrow:
            if exactness is not None:
                badge(exactness, run)
            else:
                st.caption("exactness follows")


def _progress(state: Session) -> None:
    @st.fragment(run_every=POLL_SECONDS if state.busy else None)
    def poll() -> None:
        now = session()
        if now.busy and now.advance():
            st.rerun(scope="app")
        snapshot = now.snapshot("tokens") or now.snapshot("spectra")
        if snapshot is not None:
            _bar(now, snapshot)

    poll()
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


def _bar(state: Session, snapshot: Snapshot) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="progress"):
        st.progress(min(snapshot.fraction or 0.0, 1.0), text=describe(snapshot))
        st.button("Cancel", key="cancel", on_click=state.cancel, disabled=snapshot.cancelling, width="content")
    if plan := snapshot.partial.get("plan"):
        st.caption(plan)


def describe(snapshot: Snapshot) -> str:
    """One line on how a job stands, with its place in the queue or the time left."""
    if snapshot.cancelling:
        return "Cancelling"
    if snapshot.state == "queued":
        others = "1 other job" if snapshot.ahead == 1 else f"{snapshot.ahead} other jobs"
        return f"Waiting for {others} to finish, then {snapshot.label}"
    text = snapshot.message or f"Computing {snapshot.label}"
    if snapshot.fraction:
        text += f", {snapshot.fraction:.0%}"
    if snapshot.seconds_left is not None:
        text += f", about {_duration(snapshot.seconds_left)} left"
    return text


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{format_number(seconds / 60)} min"
