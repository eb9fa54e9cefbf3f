"""The table of one token's singular triplets, and the full read-out of the chosen one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import visible_token
from eqlin_core.figures.labels import target_name
from pages.widgets.charts import show
from pages.widgets.explained import Explained
from pages.widgets.inspector import cosine, triplet_inspector
from pages.widgets.row_choice import choice_table, chosen_row, words
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import SpectrumRun, TokenRun

IN_VIEW = 10  # rows before the table scrolls
_TABLE, _CHOICE = "triplets", "triplet"


def triplet_table(run: TokenRun, spectra: SpectrumRun, token: int, explained: Explained) -> None:
    """Sigma, read-outs and effect of every triplet of ``token``; a chosen row opens its whole read-out below."""
    shares = spectra.shares(token, explained.direction)
    effects = spectra.S[token] * spectra.projections[token]
    part = f"part of the {target_name(explained.name)}"
    st.header(f"Singular triplets of {visible_token(run.tokens[token])}")
    k = chosen_row(_CHOICE, len(shares))
    choice_table(
        {
            "k": list(range(1, len(shares) + 1)),
            "σ": spectra.S[token],
            "u reads as": [words(row) for row in spectra.reads_u[token]],
            "v reads as": [words(row) for row in spectra.reads_v[token]],
            "σ (v · x)": effects,
            part: shares,
        },
        {
            "k": st.column_config.NumberColumn(width=40),
            "σ": st.column_config.NumberColumn(format="%.3g", width=70, help="Singular value"),
            "u reads as": st.column_config.TextColumn(width=260, help="What the triplet writes: u · W_U"),
            "v reads as": st.column_config.TextColumn(width=260, help="What it looks for: cosine with embeddings"),
            "σ (v · x)": st.column_config.NumberColumn(format="%.3g", width=80, help="How strongly it writes here"),
            part: st.column_config.NumberColumn(
                format="%+.3g", width=110, help=f"w · u σ (v · x), its part of the {explained.text}"
            ),
        },
        key=_TABLE,
        choice=_CHOICE,
        row=k,
        in_view=min(IN_VIEW, len(shares)),
    )
    triplet_inspector(
        f"Triplet {k + 1}: full read-out",
        sigma=float(spectra.S[token][k]),
        u=spectra.U[token][:, k],
        projection=float(spectra.projections[token][k]),
        own_cosine=cosine(spectra.Vh[token][k], run.inputs[token]),
        reads_u=spectra.reads_u[token][k],
        reads_v=spectra.reads_v[token][k],
        targets=run.targets,
        dtype=run.key.dtype,
    )


def triplet_effects(run: TokenRun, spectra: SpectrumRun, token: int, explained: Explained) -> None:
    """What every triplet of ``token`` writes at this prompt, and its part of the explained target."""
    shares = spectra.shares(token, explained.direction)
    term = float(run.contributions[token] @ explained.direction)
    k = chosen_row(_CHOICE, len(shares))
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
        f"The parts shown sum to {figures.format_number(float(shares.sum()))} of the token's "
        f"{figures.format_number(term)} ({run.key.dtype}).",
    )
