"""One singular triplet opened: what it writes, what it looks for, and what it does here; shared by all pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_number
from pages.shared.charts import show
from pages.shared.theme import theme

if TYPE_CHECKING:
    from eqlin_core.readout import Row

Vector = np.ndarray[Any, Any]


def triplet_inspector(
    title: str,
    *,
    sigma: float,
    u: Vector,
    v: Vector,
    x: Vector,
    reads_u: Row,
    reads_v: Row,
    targets: Sequence[str],
    target_rows: Vector,
    dtype: str,
    projection: float | None = None,
    key: str = "",
) -> None:
    """The triplet sigma u v^T of a map at the embedding x: read-outs with scores, and its effect on the next tokens.

    ``u`` [d_out], ``v`` and ``x`` [d_in], the token's own embedding; ``targets`` are the likely next tokens with their
    rows [n, d_out] of the unembedding. ``projection`` is v . x where v is only a part of the right vector. ``key`` goes
    before the names of the two charts, "readout" and "targets", so that one page can hold several inspectors.
    """
    along = float(v @ x) if projection is None else projection
    effect = sigma * along
    left, right = st.columns([6, 5], gap="medium")
    with left:
        st.header(title)
        facts = [
            ("σ", sigma, "Singular value"),
            ("v · x", along, "How much of what v looks for is in the input"),
            ("σ (v · x)", effect, "How much of u is written here"),
            ("cos(v, own embedding)", cosine(v, x), "Whether v looks for the token that stands here"),
        ]
        cells = "".join(
            f'<span class="eq-fact" title="{meaning}"><b>{name}</b> {format_number(value)}</span>'
            for name, value, meaning in facts
        )
        st.html(f'<div class="eq-strip">{cells}</div>')
        show(
            figures.readout_bars(reads_u, reads_v, theme=theme()),
            f"{key}readout",
            f"σ = {format_number(sigma)}, signed so that u · y ≥ 0 ({dtype}).",
        )
    with right:
        st.header("Its effect on the likely next tokens")
        show(
            figures.target_effects(targets, effect * (np.asarray(target_rows) @ u), theme=theme()),
            f"{key}targets",
            f"w · u σ (v · x), in logits ({dtype}).",
        )


def cosine(a: Vector, b: Vector) -> float:
    """cos(a, b); 0 where one of them is zero."""
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else 0.0
