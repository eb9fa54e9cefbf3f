"""What page Spectra says while no triplets are there, or a few tokens' only, found by passes before the matrix."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.figures import format_error, visible_token
from pages.visit.session import session
from pages.widgets.facts import fact, strip_of
from pages.widgets.nothing_yet import nothing_yet
from pages.widgets.token_choice import token_name

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import EarlySpectra

HEADER = "Singular values of the first tokens' matrices"


def no_spectra_yet() -> None:
    """In the place of the page while no token's triplets are there."""
    state = session()
    if state.busy:
        st.info("The spectra need the whole matrix. They appear here when it is finished.")
    elif not state.cancelled:
        nothing_yet("its spectra", "Type a prompt on the left and choose Analyse:")


def come_first(early: EarlySpectra) -> None:
    """Which tokens' triplets are there, how exactly, and when the others follow."""
    st.header("These tokens come first")
    chips = "".join(
        f'<span class="eq-chip">{escape(token_name(early.tokens, position))}</span>' for position in early.there
    )
    st.html(strip_of(fact("so far" if session().busy else "found", beside=chips)))
    count = f"{len(early.there)} token{'s' if len(early.there) > 1 else ''}"
    left = early.awaited - len(early.there)
    st.caption(
        f"The {early.S.shape[1]} largest triplets of {count} among those with the largest contributions"
        + (f", up to {left} more in a moment" if left and session().busy else "")
        + ". "
        + (
            "The other tokens, the other triplets, the stable ranks and the rank dial follow with the matrix."
            if session().busy
            else "All others, the stable ranks and the rank dial need the matrix, which was not finished."
        )
    )
    st.caption(
        f"Found by passes without the matrix: J v = σ u and Jᵀ u = σ v hold up to {format_error(early.residual)} σ₁ "
        f"({early.key.dtype})."
    )


def still_to_come(early: EarlySpectra, token: int) -> bool:
    """Whether ``token`` is not among those that are there, which is then said in the place of its triplets."""
    if token in early.there:
        return False
    st.header(f"Singular triplets of {visible_token(early.tokens[token])}")
    st.info(
        "This token's triplets follow with the matrix; those of the tokens named above are there."
        if session().busy
        else "This token's triplets need the matrix, which was not finished; those of the tokens named above are there."
    )
    return True
