"""The check in float64 behind the exactness badge: how much of what is shown is rounding, on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.figures import format_error
from pages.visit.polling import poll
from pages.visit.session import session
from pages.worker.engine import engine
from pages.worker.worker import Job

if TYPE_CHECKING:
    from eqlin_core.maps.precision import PrecisionCheck

_KEY = "precision_check"


def check_in_float64() -> None:
    """A button that has the contributions computed once more in float64, then the distance to what is shown."""
    poll(_follow, going_on=_going_on)


def _going_on() -> bool:
    job = _job()
    return job is not None and not job.snapshot(session().visitor).finished


def _follow(active: bool) -> None:
    now = _job()
    if now is None:
        if st.button(
            "Check in float64",
            key="precision-button",
            help="Computes the contributions once more with a float64 copy of the model, without the matrix.",
        ):
            _start()
            st.rerun(scope="app")
        return
    engine().worker.touch(session().visitor)
    snapshot = now.snapshot(session().visitor)
    if snapshot.state == "done":
        st.markdown(_sentence(snapshot.result))
    elif snapshot.finished:
        st.markdown(snapshot.error or "The check in float64 was cancelled.")
    else:
        st.caption(snapshot.message or "Waiting for the check in float64.")
    if snapshot.finished and active:
        st.rerun(scope="app")  # which ends the polling


def _job() -> Job | None:
    asked, job = st.session_state.get(_KEY, (None, None))
    return job if asked == session().shown else None


def _start() -> None:
    shown = session().shown
    assert shown is not None
    st.session_state[_KEY] = shown, engine().precision(shown, session().visitor)


def _sentence(check: PrecisionCheck) -> str:
    token = "the same next token" if check.same_token else "**another** next token"
    return (
        f"Against float64: no contribution is off by more than **{format_error(check.contributions)}** of the output's "
        f"length, the output by **{format_error(check.output)}** ({check.dtype}); {token} is the most likely."
    )
