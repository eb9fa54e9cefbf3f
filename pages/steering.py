"""Page Steering: the map of one prompt pushes the text that follows another."""

from dataclasses import asdict

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.frame.entry import through_app
from pages.steered.form import current_plan, form, guide_line, step_back
from pages.steered.results import old, texts
from pages.steered.state import Steering, steering
from pages.steered.watch import LINE, growing_texts, watch
from pages.visit.session import session
from pages.widgets.code import page_code_button
from pages.widgets.heading import heading
from pages.widgets.nothing_yet import nothing_yet

through_app(__file__)


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    beside = heading(
        "What can it do?",
        "The map of the concept's words is applied to every word of the new prompt, and the result pushes the model "
        "while it writes. The slider sets how hard.",
    )
    step_back()
    run = session().tokens
    if run is None:
        nothing_yet("the steered texts", "The model is being loaded. Then")
        return

    state = steering()
    plan = form(state, run.n_layers)
    if plan is not None:
        state.ask(plan)
    state.advance()
    left, right = st.columns([4, 3], gap="medium", vertical_alignment="center")
    with left, st.container(height=LINE, border=False, vertical_alignment="center", key="steering-guide"):
        guide_line(state)
    with right:
        watch(state)
    if state.shown is not None:
        texts(old(state, current_plan()))
        _code(beside, state)
        return
    growing_texts()
    if not state.busy and not state.error:
        st.info("Choose a preset, or type a concept and a prompt, and choose Steer.")


def _code(beside: DeltaGenerator, state: Steering) -> None:
    """The code of what is shown; an operator from a file has none."""
    grid = state.shown
    if grid is None or state.source is None or grid.plan.file is not None:
        return
    asked = asdict(grid.plan) | {"strengths": tuple(s[0] if len(s) == 1 else s for s in grid.strengths)}
    del asked["file"]
    page_code_button(beside, "steering", state.source, **asked)


page()
