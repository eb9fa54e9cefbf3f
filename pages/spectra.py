"""Page Spectra: what each token's matrix does."""

import streamlit as st

from eqlin_core import figures
from eqlin_core.runs.prompt import EarlySpectra
from pages.frame.entry import through_app
from pages.triplets.early import HEADER, come_first, still_to_come
from pages.triplets.joint import joint_triplets
from pages.triplets.rank_dial import rank_dial
from pages.triplets.table import triplet_table
from pages.visit.page_jobs import watch
from pages.visit.session import session
from pages.widgets.charts import equal_heights, show
from pages.widgets.explained import choose
from pages.widgets.theme import theme
from pages.widgets.token_choice import choose_token

through_app(__file__)


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    state = session()
    run, spectra = state.tokens, state.spectra or state.early
    if run is None or spectra is None:
        if state.busy:
            st.info("The spectra need the whole matrix. They appear here when it is finished.")
        elif not state.error and not state.cancelled:
            st.info("Type a prompt on the left and choose Analyse: its spectra appear here.")
        return

    explained = choose(run)
    controls = st.container(horizontal=True, vertical_alignment="bottom")
    with controls:
        token = choose_token(run.tokens, width=320)
        scale = st.segmented_control(
            "Scale", ["log", "linear"], default="log", required=True, key="scale", bind="query-params"
        )
        size = st.segmented_control(
            "Values", ["absolute", "normalised"], default="absolute", required=True, key="values", bind="query-params"
        )

    values, ranks = equal_heights(
        figures.singular_values(
            spectra.S, run.tokens, log=scale == "log", normalised=size == "normalised", highlight=token, theme=theme()
        ),
        figures.stable_ranks(spectra.stable_rank, run.tokens, log=scale == "log", highlight=token, theme=theme()),
    )
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.header(HEADER if isinstance(spectra, EarlySpectra) else "Singular values of every token's matrix")
        show(values, "singular-values", f"The {spectra.S.shape[1]} largest of {run.width} ({run.key.dtype}).")
    if isinstance(spectra, EarlySpectra):
        with right:
            come_first(spectra)
        if not still_to_come(spectra, token):
            triplet_table(run, spectra, token, explained)
        return
    with right:
        st.header("Stable rank")
        show(ranks, "stable-ranks", f"‖J‖² / σ₁², from the exact Frobenius norm ({run.key.dtype}).")

    triplet_table(run, spectra, token, explained)
    assert state.shown is not None
    watch()
    rank_dial(state.shown, run)
    joint_triplets(state.shown, run)


page()
