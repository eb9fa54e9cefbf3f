"""Page Matrix: one token's matrix as it is, what its largest lines say, and what it takes to reconstruct the output."""

import streamlit as st

from pages.frame.entry import through_app
from pages.matrices.reconstruction import draw_reconstruction
from pages.matrices.view import choose_tokens, choose_window, draw_matrices
from pages.visit.page_jobs import watch
from pages.visit.session import session
from pages.widgets.code import page_code_button
from pages.widgets.heading import heading
from pages.widgets.nothing_yet import nothing_yet
from pages.widgets.text import text_line

through_app(__file__)


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    state = session()
    run = state.tokens
    if run is None or state.shown is None:
        nothing_yet("the matrices")
        return

    beside = heading(
        "What is it, and why freeze?",
        "At this prompt each input token i has a matrix Jᵢ: it takes the token's embedding xᵢ to the token's part of "
        "the output embedding, y = Σ Jᵢxᵢ + b.",
    )
    text_line()
    watch()
    frozen = draw_reconstruction(state.shown, run)
    st.header("One token's matrix")
    st.caption("Rows are output dimensions, columns are input dimensions.")
    chosen = choose_tokens(run)
    window = choose_window(run.width)
    draw_matrices(state.shown, run, chosen, window)
    page_code_button(beside, "matrix", state.shown, token=chosen[0], frozen=frozen)


page()
