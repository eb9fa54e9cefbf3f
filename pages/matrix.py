"""Page Matrix: what freezing is for, one token's matrix, what its largest lines say, and how far it can be trusted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.entry import through_app
from pages.matrices.reach import draw_reach, of_reach
from pages.matrices.reconstruction import draw_reconstruction
from pages.matrices.view import choose_tokens, choose_window, draw_matrices
from pages.visit.page_jobs import watch
from pages.visit.session import session
from pages.widgets.code import page_code_button
from pages.widgets.heading import heading
from pages.widgets.nothing_yet import nothing_yet
from pages.widgets.tabs import tabs
from pages.widgets.text import text_line

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import TokenRun
    from eqlin_core.runs.validity import ValidityRun
    from pages.worker.request import Request

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
    reached: list[ValidityRun] = []
    tabs(
        "matrix_tab",
        {
            "The matrix": partial(the_matrix, state.shown, run, chosen),
            "How far can I trust this?": partial(draw_reach, state.shown, run, chosen[0], reached.append),
        },
    )
    page_code_button(beside, "matrix", state.shown, token=chosen[0], frozen=frozen, **of_reach(reached))


def the_matrix(request: Request, run: TokenRun, chosen: list[int]) -> None:
    """The window and the heat maps in it, with the largest columns and rows."""
    draw_matrices(request, run, chosen, choose_window(run.width))


page()
