"""The form of the page Steering: what a plan takes from it and from the sidebar."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core.runs.steering import SteeringPlan


def draw_form(convention):
    import streamlit as st

    from pages.steered.form import form
    from pages.steered.state import Steering
    from pages.visit.session import Session
    from pages.worker.request import Request

    st.session_state["eqlin"] = Session(asked=Request("The bridge", gated_path=convention))

    class Unguided(Steering):
        def guide(self, concept: str) -> None:
            return None

    st.session_state["plan"] = form(Unguided("ada"), 30)


def first_plan(convention: str) -> SteeringPlan:
    """The plan that the page asks for on a first visit."""
    app = AppTest.from_function(draw_form, kwargs={"convention": convention}).run(timeout=30)
    assert not app.exception
    plan = app.session_state["plan"]
    assert isinstance(plan, SteeringPlan)
    return plan


@pytest.mark.parametrize("convention", ["up", "gate"])
def test_a_plan_records_the_convention_of_the_sidebar(convention: str) -> None:
    assert first_plan(convention).gated_path == convention
