"""The singular values of every token's matrix and their stable ranks; while only some are there, which come first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import streamlit as st

from eqlin_core import figures
from eqlin_core.runs.prompt import EarlySpectra
from pages.triplets.early import HEADER, come_first
from pages.widgets.charts import equal_heights, show
from pages.widgets.theme import theme
from pages.widgets.token_choice import choose_token

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import SpectrumRun, TokenRun


class Choices(NamedTuple):
    """The chosen token's position, and how the values are drawn."""

    token: int
    log: bool
    normalised: bool


def choices(run: TokenRun) -> Choices:
    """Draw the choice of the token, the scale and the values."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        token = choose_token(run.tokens, width=320)
        scale = st.segmented_control(
            "Scale", ["log", "linear"], default="log", required=True, key="scale", bind="query-params"
        )
        size = st.segmented_control(
            "Values", ["absolute", "normalised"], default="absolute", required=True, key="values", bind="query-params"
        )
    return Choices(token, scale == "log", size == "normalised")


def singular_values(run: TokenRun, spectra: SpectrumRun, chosen: Choices) -> None:
    """The values, and beside them the stable ranks; of early spectra, which tokens these are."""
    values, ranks = equal_heights(
        figures.singular_values(
            spectra.S,
            run.tokens,
            log=chosen.log,
            normalised=chosen.normalised,
            highlight=chosen.token,
            theme=theme(),
        ),
        figures.stable_ranks(spectra.stable_rank, run.tokens, log=chosen.log, highlight=chosen.token, theme=theme()),
    )
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.header(HEADER if isinstance(spectra, EarlySpectra) else "Singular values of every token's matrix")
        show(values, "singular-values", f"The {spectra.S.shape[1]} largest of {run.width} ({run.key.dtype}).")
    with right:
        if isinstance(spectra, EarlySpectra):
            come_first(spectra)
        else:
            st.header("Stable rank")
            show(ranks, "stable-ranks", f"‖J‖² / σ₁², from the exact Frobenius norm ({run.key.dtype}).")
