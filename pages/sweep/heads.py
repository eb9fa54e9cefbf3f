"""The heads on the page Layers: which of them carry the explained token's logit, and from which input tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_number
from pages.sweep.state import HEADS, Layers
from pages.visit.session import session
from pages.widgets.charts import at_height, clicked, numbers_of, show
from pages.widgets.explained import Explained
from pages.widgets.sentences import shortened
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.runs.layers import HeadsRun
    from eqlin_core.runs.prompt import TokenRun
    from eqlin_core.runs.split import Split

BESIDE = 225  # pixels: two charts stand beside the table
_TABLE, _CHOICE = "heads-table", "head"


def heads(state: Layers, run: TokenRun, explained: Explained) -> None:
    """Ask for the heads, by the map and the baseline of page Tokens, and draw them once they are there."""
    second = [] if explained.second is None else [explained.second.token_id]
    ids = dict.fromkeys([*(t.token_id for t in run.targets), explained.first.token_id, *second])
    busy = state.jobs.busy
    split_by = session().split
    state.ask_heads(tuple(ids), split_by)
    if state.jobs.busy and not busy:
        st.rerun()  # so that the progress above is drawn
    if HEADS in state.refused and state.refused[HEADS] != state.error:
        st.caption(shortened(state.refused[HEADS]))
    split = state.heads
    if split is not None and {explained.first.token_id, *second} <= set(split.ids):
        with numbers_of(split.key):
            _draw(split, split_by, explained)


def _draw(split: HeadsRun, split_by: Split, explained: Explained) -> None:
    """The table of heads, the chosen head's input tokens, and attention beside MLP."""
    weights = split.weights(explained.first.token_id, explained.second_id, explained.kind)
    table = np.einsum("m,mlht->lht", weights, split.heads)
    attn, mlp = (np.einsum("m,mlt->l", weights, part) for part in (split.attn, split.mlp))
    attn_bias, mlp_bias = weights @ split.attn_bias, weights @ split.mlp_bias
    rest = float(weights @ (split.embedding.sum(-1) + split.other_bias))
    layer, head = _chosen(table.sum(-1))
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.header(f"Heads that write the {explained.text}")
        show(
            figures.heads_table(table.sum(-1), explained=explained.name, chosen=(layer, head), theme=theme()),
            _TABLE,
            f"What each head adds to the residual stream, read by the frozen final norm; a layer's heads sum to its "
            f"attention ({split.key.dtype}). As on page Tokens: {split_by.words}. Click a head.",
            on_click=_open_clicked,
        )
    with right:
        st.header(f"Layer {layer}, head {head}")
        show(
            at_height(
                figures.head_tokens(
                    table[layer, head], split.tokens, layer=layer, head=head, explained=explained.name, theme=theme()
                ),
                BESIDE,
            ),
            "head-tokens",
            f"By the input token it comes from; they sum to {format_number(float(table[layer, head].sum()))}.",
        )
        st.header("Attention and MLP of every layer")
        total = float((attn + attn_bias + mlp + mlp_bias).sum()) + rest
        show(
            at_height(
                figures.direct_layers(attn + attn_bias, mlp + mlp_bias, rest, explained=explained.name, theme=theme()),
                BESIDE,
            ),
            "direct-layers",
            f"With {format_number(rest)} of the embedding and constants they sum to {format_number(total)}; the "
            f"target is {format_number(float(weights @ split.total))} ({split.key.dtype}).",
        )


def _chosen(table: np.ndarray) -> tuple[int, int]:
    """The chosen head, the one that writes most unless one was clicked that this model has."""
    L, H = table.shape
    layer, head = st.session_state.get(_CHOICE, (-1, -1))
    if 0 <= layer < L and 0 <= head < H:
        return layer, head
    return divmod(int(np.abs(table).argmax()), H)


def _open_clicked() -> None:
    cell = clicked(_TABLE)
    if cell is not None:
        st.session_state[_CHOICE] = int(cell[0]), int(cell[1])
