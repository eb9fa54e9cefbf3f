"""Step 4: a preset of steering under its slider."""

from __future__ import annotations

import streamlit as st

from eqlin_core.steering.presets import STEERING_PRESETS
from pages.steered.plans import FIRST, preset_plan
from pages.steered.results import texts
from pages.steered.state import steering
from pages.steered.watch import growing_texts, watch
from pages.widgets.facts import plain


def steered(blocks: int) -> None:
    """The two texts of what this tab steered last; before that, those of the first preset."""
    state = steering()
    if state.asked is None:
        st.session_state.setdefault("lambda", STEERING_PRESETS[FIRST].strength)
        state.ask(preset_plan(blocks))
    state.advance()
    watch(state)
    plan = None if state.shown is None else state.shown.plan
    if plan is not None and not state.streaming:
        st.markdown(
            f"The map of **{plain(plan.concept)}** is applied to every word of **{plain(plan.prompt)}** and pushes the "
            "model as it writes. Move the slider: it sets how hard."
        )
        texts(alone=True)
    else:
        growing_texts()
