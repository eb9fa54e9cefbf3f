"""Page Layers: how the prediction forms, layer by layer."""

import streamlit as st

from pages.frame.entry import through_app
from pages.sweep.charts import charts
from pages.sweep.heads import heads
from pages.sweep.state import layers
from pages.sweep.table import choices, read_out
from pages.sweep.watch import affordable, watch
from pages.visit.session import session
from pages.widgets.explained import as_kind, choose
from pages.widgets.nothing_yet import nothing_yet

through_app(__file__)


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    current = session()
    run = current.tokens
    if run is None or current.shown is None:
        nothing_yet("the layers")
        return

    st.caption(
        "The map can end at any layer: at what a block puts out, or at what its attention or its MLP adds to the "
        "residual stream. Each cell shows what the map of one input token writes there, read through the final norm. "
        "Click a cell."
    )
    state = layers()
    if state.follow(current.shown, current.shipped) and affordable(run):
        state.open()
    state.advance()
    watch(state)
    with st.container():
        chosen = choices(state.shown, run)
        if chosen is not None:
            read_out(chosen, run)
            if chosen.sweep.complete:
                charts(chosen, state.shown, run)
    heads(state, run, as_kind(choose(run), current.split.target, run))


page()
