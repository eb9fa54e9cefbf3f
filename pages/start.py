"""Page Start: what this is, told in four steps with the prompt of the sidebar."""

import streamlit as st

from pages.frame.entry import through_app
from pages.story.equation import equation
from pages.story.misses import misses
from pages.story.steering import steered
from pages.story.steps import STEPS, told, way_on
from pages.story.terms import terms
from pages.visit.page_jobs import watch
from pages.visit.session import session
from pages.widgets.explained import Explained
from pages.widgets.nothing_yet import nothing_yet
from pages.widgets.present import presents

through_app(__file__)


def page() -> None:
    """Draw the step that is told, or what to do while there is nothing to draw."""
    step = told()
    st.title(STEPS[step].sentence, anchor=False)
    state = session()
    run = state.tokens
    if run is None or state.shown is None:
        nothing_yet("the first steps")
        return
    explained = Explained(run.targets[0], None)
    watch()
    with st.container(key="told"):
        if step == 0:
            equation(run, explained)
        elif step == 1:
            misses(state.shown, run)
        elif step == 2:
            terms(explained)
        else:
            steered(run.n_layers)
    way_on(step)
    if not presents():
        st.caption("Every step is told with the prompt on the left: type your own there, and press Analyse.")


page()
