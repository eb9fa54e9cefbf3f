"""The singular values of every token's matrix and their stable ranks; while only some are there, which come first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core import figures
from eqlin_core.runs.prompt import EarlySpectra
from pages.triplets.early import HEADER, come_first
from pages.widgets.charts import equal_heights, show
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import SpectrumRun, TokenRun


def singular_values(run: TokenRun, spectra: SpectrumRun, token: int) -> None:
    """The values, that of ``token`` on top, and beside them the stable ranks; of early spectra, which tokens these are.

    How they are drawn is chosen above them.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        scale = st.segmented_control(
            "Scale", ["log", "linear"], default="log", required=True, key="scale", bind="query-params"
        )
        size = st.segmented_control(
            "Values", ["absolute", "normalised"], default="absolute", required=True, key="values", bind="query-params"
        )
    log = scale == "log"
    values, ranks = equal_heights(
        figures.singular_values(
            spectra.S,
            run.tokens,
            log=log,
            normalised=size == "normalised",
            highlight=token,
            theme=theme(),
        ),
        figures.stable_ranks(spectra.stable_rank, run.tokens, log=log, highlight=token, theme=theme()),
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
