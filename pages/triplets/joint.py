"""The joint spectrum: the singular triplets of all tokens' matrices side by side, [J_1 ... J_T]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_number
from pages.triplets.jobs import joint
from pages.triplets.table import IN_VIEW
from pages.visit.page_jobs import page_jobs, waiting
from pages.widgets.charts import show
from pages.widgets.inspector import cosine, triplet_inspector
from pages.widgets.row_choice import choice_table, chosen_row, words
from pages.widgets.theme import theme
from pages.widgets.token_choice import token_name
from pages.worker.request import Request

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import TokenRun
    from eqlin_core.runs.ranks import JointRun

_TABLE, _CHOICE = "joint-triplets", "joint-triplet"


def joint_triplets(request: Request, run: TokenRun) -> None:
    """The joint spectrum with the tokens that each triplet reads from, the table of triplets, and the chosen one."""
    st.header("Joint spectrum of all tokens")
    st.caption(
        "One decomposition of the d × Td matrix [J₁ J₂ …]: a triplet writes one direction u and may read from several "
        "tokens at once. ‖vᵢ‖² is the part of its right vector that lies on token i."
    )
    spectrum = page_jobs().want("joint", joint(request))
    if spectrum is None:
        waiting("joint", "the joint spectrum")
        return
    k = chosen_row(_CHOICE, len(spectrum.S))
    left, right = st.columns(2, gap="medium")
    with left:
        show(
            figures.joint_spectrum(spectrum.S, spectrum.weights, spectrum.tokens, highlight=k, theme=theme()),
            "joint-spectrum",
            f"Stable rank {format_number(spectrum.stable_rank)} ({run.key.dtype}).",
        )
    with right:
        _table(spectrum, k)
    _inspect(spectrum, run, k)


def _table(spectrum: JointRun, k: int) -> None:
    choice_table(
        {
            "k": list(range(1, len(spectrum.S) + 1)),
            "σ": spectrum.S,
            "u reads as": [words(row) for row in spectrum.reads_u],
            "reads from": [token_name(spectrum.tokens, int(i)) for i in spectrum.main],
            "v · x": spectrum.projections.sum(1),
        },
        {
            "k": st.column_config.NumberColumn(width=40),
            "σ": st.column_config.NumberColumn(format="%.3g", width=60, help="Singular value"),
            "u reads as": st.column_config.TextColumn(width=150, help="What the triplet writes: u · W_U"),
            "reads from": st.column_config.TextColumn(width=80, help="The token with the largest part of v"),
            "v · x": st.column_config.NumberColumn(format="%.3g", width=70, help="Summed over the tokens"),
        },
        key=_TABLE,
        choice=_CHOICE,
        row=k,
        in_view=IN_VIEW + 6,
    )


def _inspect(spectrum: JointRun, run: TokenRun, k: int) -> None:
    main = int(spectrum.main[k])
    triplet_inspector(
        f"Joint triplet {k + 1}, v on {token_name(spectrum.tokens, main)}",
        sigma=float(spectrum.S[k]),
        u=spectrum.U[:, k],
        projection=float(spectrum.projections[k].sum()),
        own_cosine=cosine(spectrum.V[k], run.inputs[main]),
        reads_u=spectrum.reads_u[k],
        reads_v=spectrum.reads_v[k],
        targets=run.targets,
        dtype=run.key.dtype,
        key="joint-",
    )
