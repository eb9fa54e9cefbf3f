"""Page Layers: how the prediction forms, layer by layer."""

from functools import partial

import streamlit as st

from eqlin_core.runs.treatments import mixer
from pages.frame.entry import through_app
from pages.sweep.charts import first_read, path, spectra
from pages.sweep.heads import heads
from pages.sweep.state import layers
from pages.sweep.table import choices, read_out
from pages.sweep.watch import affordable, watch
from pages.visit.session import session
from pages.widgets.code import of_explained, page_code_button
from pages.widgets.explained import as_kind, choose
from pages.widgets.heading import heading
from pages.widgets.nothing_yet import nothing_yet
from pages.widgets.tabs import tabs
from pages.widgets.text import text_line

through_app(__file__)
_HEADS = "Each head and each MLP writes a part of the logit: the first picture. "


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    current = session()
    run = current.tokens
    if run is None or current.shown is None:
        nothing_yet("the layers")
        return

    beside = heading(
        "Where does it arise?",
        f"{_HEADS if mixer(run.treatments) == 'attention' else ''}The map can end at any layer: the tabs show what "
        "each input token's map writes there, read through the final norm.",
    )
    text_line()
    state = layers()
    if state.follow(current.shown, current.shipped) and affordable(run):
        state.open()
    state.advance()
    watch(state)
    explained = as_kind(choose(run), current.split.target, run)
    heads(state, run, explained)
    with st.container():
        chosen = choices(state.shown, run)
        if chosen is None:
            return
        parts = {"Read-outs": partial(read_out, chosen, run)}
        if chosen.sweep.complete:
            parts |= {
                "Spectra": partial(spectra, chosen, state.shown),
                "The way to the last layer": partial(path, chosen),
                "When a token is read": partial(first_read, chosen, run),
            }
        tabs("layer_tab", parts)
    split = current.split
    page_code_button(
        beside,
        "layers",
        current.shown,
        mode=chosen.sweep.mode,
        layer=chosen.layer,
        part=chosen.kind,
        token=0 if chosen.joint else chosen.column,
        joint=chosen.joint,
        triplet=chosen.triplet,
        baseline=split.baseline,
        heads_by=None if split.convention == current.shown.convention else split.convention,
        **of_explained(explained),
    )


page()
