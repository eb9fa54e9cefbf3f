"""The form of the page Steering: what a plan takes from it and from the sidebar."""

from __future__ import annotations

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core.runs.steering import SteeringGrid, SteeringPlan, Text
from pages.steered import results
from pages.steered.state import Steering
from pages.worker.request import Request


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


def drawn_form() -> AppTest:
    app = AppTest.from_function(draw_form, kwargs={"convention": "up"}).run(timeout=30)
    assert not app.exception
    return app


def test_a_preset_is_chosen_only_while_its_settings_stand() -> None:
    app = drawn_form()
    assert app.session_state["steering_preset"] == "Golden Gate"
    app.text_input(key="onto").set_value("Another prompt").run()
    assert app.session_state["steering_preset"] is None
    app.text_input(key="onto").set_value("Here is a painting of the").run()
    assert app.session_state["steering_preset"] == "Golden Gate"
    app.slider(key="depth").set_value(12).run()
    assert app.session_state["steering_preset"] is None
    app.text_input(key="second").set_value("The ocean").run()
    assert app.session_state["steering_preset"] is None
    assert not app.exception


def test_what_is_shown_of_another_question_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "source", Request)
    plan = SteeringPlan("A *dragon*", "Once", 20)
    texts = [Text(["a"], [1], " a", False) for _ in plan.strengths]
    shown = SteeringGrid(plan, "model", "float32", plan.strengths, ["Once"], [], texts)
    state = Steering("ada", shown=shown, source=Request())
    assert results.old(state, plan) == ""
    assert results.old(state, replace(plan, layers=3)) == "Of ‘A \\*dragon\\*’ on ‘Once’, 20 blocks; press Steer."
