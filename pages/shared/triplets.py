"""The table of one token's singular triplets, and the full read-out of the chosen one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import visible_token
from pages.shared.charts import show
from pages.shared.explained import Explained
from pages.shared.inspector import triplet_inspector
from pages.shared.theme import theme

if TYPE_CHECKING:
    from eqlin_core.readout import Row
    from eqlin_core.runs import SpectrumRun, TokenRun

IN_TABLE = 5  # tokens of each read-out
TARGETS = 12  # likely next tokens in the inspector
IN_VIEW = 10  # rows before the table scrolls
ROW, HEADER = 28, 37  # pixels; Streamlit sets the height of the header, which is here with the table's border
_TABLE, _CHOICE = "triplets", "triplet"


def triplet_table(run: TokenRun, spectra: SpectrumRun, token: int, explained: Explained) -> None:
    """Sigma, read-outs and effect of every triplet of ``token``; a chosen row opens its whole read-out below."""
    shares = spectra.shares(token, explained.direction)
    term = float(run.contributions[token] @ explained.direction)
    effects = spectra.S[token] * spectra.projections[token]
    st.header(f"Singular triplets of {visible_token(run.tokens[token])}")
    k = _chosen(len(shares))
    st.dataframe(
        {
            "k": list(range(1, len(shares) + 1)),
            "σ": spectra.S[token],
            "u reads as": [_words(row) for row in spectra.reads_u[token]],
            "v reads as": [_words(row) for row in spectra.reads_v[token]],
            "σ (v · x)": effects,
            "share of the logit": shares,
        },
        hide_index=True,
        on_select=_choose,
        selection_mode=["single-row-required", "single-cell"],
        selection_default={"selection": {"rows": [k]}},
        key=_TABLE,
        row_height=ROW,
        height=HEADER + IN_VIEW * ROW,
        column_config={
            "k": st.column_config.NumberColumn(width=40),
            "σ": st.column_config.NumberColumn(format="%.3g", width=70, help="Singular value"),
            "u reads as": st.column_config.TextColumn(width=260, help="What the triplet writes: u · W_U"),
            "v reads as": st.column_config.TextColumn(width=260, help="What it looks for: cosine with embeddings"),
            "σ (v · x)": st.column_config.NumberColumn(format="%.3g", width=80, help="How strongly it writes here"),
            "share of the logit": st.column_config.NumberColumn(
                format="%+.3g", width=110, help=f"w · u σ (v · x), its part of the {explained.text}"
            ),
        },
    )
    targets = run.targets[:TARGETS]
    triplet_inspector(
        f"Triplet {k + 1}: full read-out",
        sigma=float(spectra.S[token][k]),
        u=spectra.U[token][:, k],
        v=spectra.Vh[token][k],
        x=run.inputs[token],
        reads_u=spectra.reads_u[token][k],
        reads_v=spectra.reads_v[token][k],
        targets=[target.token for target in targets],
        target_rows=np.stack([target.row for target in targets]),
        dtype=run.key.dtype,
    )
    st.header("What each triplet does here")
    show(
        figures.triplet_effect(
            spectra.S[token],
            spectra.projections[token],
            shares,
            token=run.tokens[token],
            position=token,
            explained=explained.name,
            term=term,
            highlight=k + 1,
            theme=theme(),
        ),
        "effect",
        f"The shares shown sum to {figures.format_number(float(shares.sum()))} of the token's "
        f"{figures.format_number(term)} ({run.key.dtype}).",
    )


def _chosen(kept: int) -> int:
    """The index of the chosen triplet, which stays chosen from token to token."""
    return min(st.session_state.setdefault(_CHOICE, 0), kept - 1)


def _choose() -> None:
    """A click anywhere in a row chooses it, not only one on its box."""
    selection = st.session_state[_TABLE]["selection"]
    if selection["cells"]:
        row = selection["cells"][0][0]
    else:
        row = selection["rows"][0] if selection["rows"] else st.session_state[_CHOICE]
    st.session_state[_CHOICE] = row
    st.session_state[_TABLE] = {"selection": {"rows": [row], "columns": [], "cells": []}}


def _words(row: Row) -> str:
    return "  ".join(visible_token(token) for token, _ in row[:IN_TABLE])
