"""The charts of the page Layers: spectra, stable ranks, the path of u, and when a token is first read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import visible_token
from pages.sweep.table import MODE_NAMES, Chosen, subscripted, visible_column
from pages.widgets.charts import show
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.runs.layers import SweepRun
    from eqlin_core.runs.prompt import TokenRun

WITHIN = (1, 3, 8)


def spectra(chosen: Chosen, sweeps: Mapping[str, SweepRun]) -> None:
    """The singular values and the stable ranks of the open cell's column, at every layer."""
    name = visible_column(chosen)
    left, right = st.columns(2, gap="medium")
    with left:
        st.header(f"Singular values, {name}")
        show(
            figures.layer_spectra(
                chosen.sweep.S[:, chosen.place, chosen.column], name=name, chosen=chosen.layer, theme=theme()
            ),
            "layer-spectra",
            f"To the {chosen.kind_name} from {MODE_NAMES[chosen.sweep.mode]}; "
            f"layer {chosen.layer} stands out ({chosen.sweep.key.dtype}).",
        )
    with right:
        st.header(f"Stable rank, {name}")
        ranks = {mode: sweep.stable_rank[:, :, chosen.column] for mode, sweep in sweeps.items()}
        show(
            figures.layer_stable_ranks(ranks, chosen.sweep.kinds, name=name, mixer=chosen.mixer, theme=theme()),
            "layer-ranks",
            f"‖J‖² / σ₁², from the exact Frobenius norm ({chosen.sweep.key.dtype}).",
        )


def path(chosen: Chosen) -> None:
    """How u₁ and u₂ of the open cell's column turn towards those of the last layer."""
    name = visible_column(chosen)
    st.header(f"The way to the last layer, {name}")
    show(
        figures.layer_path(chosen.sweep.path(chosen.kind, chosen.column), name=name, theme=theme()),
        "layer-path",
        f"u₁ ends at (1, 0) and u₂ at (0, 1) when the map ends at the block output ({chosen.sweep.key.dtype}).",
    )


def first_read(chosen: Chosen, run: TokenRun) -> None:
    """The first layer at which each column's u reads as a token."""
    sweep = chosen.sweep
    st.header("When a token becomes the read-out")
    ids = list(dict.fromkeys([run.targets[0].token_id, *sweep.read_tokens(chosen.kind, chosen.triplet)]))
    known = sweep.names | {t.token_id: t.token for t in run.targets}
    options = {f"{visible_token(known[i])}": i for i in reversed(ids)}
    names = list(reversed(options))
    if st.session_state.get("reads") not in options:
        st.session_state.pop("reads", None)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        token = st.selectbox("Token", names, key="reads", bind="query-params", width=220)
        within = st.segmented_control(
            "among the first", WITHIN, default=1, required=True, key="reads_within", bind="query-params"
        )
    token_id = options[token]
    first, valued = sweep.first_layers(token_id, chosen.kind, chosen.triplet, int(within or 1))
    logit_lens = "never reads as it" if valued < 0 else f"first reads as it at layer {valued}"
    show(
        figures.first_layers(first, sweep.columns, token=known[token_id], n_layers=sweep.U.shape[0], theme=theme()),
        "first-layers",
        f"The first layer at which each map's {subscripted('u', chosen.triplet + 1)} reads as this token. What the "
        f"model itself has at the {chosen.kind_name} {logit_lens} ({sweep.key.dtype}).",
    )
