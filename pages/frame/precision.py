"""The check in float64 behind the exactness badge: how much of what is shown is rounding, on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.figures import format_error
from pages.visit.jobs import Jobs
from pages.visit.polling import poll
from pages.visit.session import session
from pages.visit.tab import of_this_tab
from pages.worker.analysis import precision
from pages.worker.job import Snapshot
from pages.worker.question import Question

if TYPE_CHECKING:
    from eqlin_core.maps.precision import PrecisionCheck

_NAME = "check in float64"


def check_in_float64() -> None:
    """A button that has the contributions computed once more in float64, then the distance to what is shown."""
    poll(_follow, going_on=lambda: _jobs().busy)


def _follow(active: bool) -> None:
    jobs, question = _jobs(), _question()
    jobs.advance()
    asked = jobs.snapshots.get(_NAME)
    if asked is not None and asked.key == question.key:
        _say(asked)
    elif st.button(
        "Check in float64",
        key="precision-button",
        help="Computes the contributions once more with a float64 copy of the model, without the matrix.",
    ):
        jobs.start(_NAME, question)
        st.rerun(scope="app")
    if active and not jobs.busy:
        st.rerun(scope="app")  # which ends the polling


def _say(check: Snapshot) -> None:
    if check.state == "done":
        st.markdown(_sentence(check.result))
    elif check.finished:
        st.markdown(check.error or "The check in float64 was cancelled.")
    else:
        st.caption(check.message or "Waiting for the check in float64.")


def _jobs() -> Jobs:
    return of_this_tab("precision_check", lambda: Jobs(session().visitor))


def _question() -> Question[PrecisionCheck]:
    shown = session().shown
    assert shown is not None
    return precision(shown)


def _sentence(check: PrecisionCheck) -> str:
    run = session().tokens
    elsewhere = run is not None and check.device not in ("", run.device)
    where = f" The run in float64 was computed on the {check.device.upper()}." if elsewhere else ""
    token = "the same next token" if check.same_token else "**another** next token"
    return (
        f"Against float64: no contribution is off by more than **{format_error(check.contributions)}** of the output's "
        f"length, the output by **{format_error(check.output)}** ({check.dtype}); {token} is the most likely.{where}"
    )
