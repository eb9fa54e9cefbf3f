"""One singular triplet opened: what it writes, what it looks for, and what it does here; shared by all pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_number
from pages.widgets.charts import equal_heights, show
from pages.widgets.facts import fact, strip_of
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import Target
    from eqlin_core.runs.values import Row

Vector = np.ndarray[Any, Any]


def triplet_inspector(
    title: str,
    *,
    sigma: float,
    u: Vector,
    projection: float,
    own_cosine: float,
    reads_u: Row,
    reads_v: Row,
    targets: Sequence[Target],
    dtype: str,
    x_name: str = "own embedding",
    note: str = "",
    key: str = "",
) -> None:
    """The triplet sigma u v^T of a map at its input x: read-outs with scores, and its effect on the next tokens.

    ``u`` [d_out]; ``projection`` is v . x and ``own_cosine`` the cosine of v with x, which is called ``x_name``. Of
    ``targets``, the likely next tokens, as many are shown as u is read out with. ``note`` is added to what is said
    under the read-out. ``key`` goes before the names of the two charts, "readout" and "targets", so that one page can
    hold several inspectors.
    """
    effect = sigma * projection
    shown = targets[: len(reads_u)]
    readout, effects = equal_heights(
        figures.readout_bars(reads_u, reads_v, theme=theme()),
        figures.target_effects(
            [target.token for target in shown],
            effect * (np.stack([target.row for target in shown]) @ u.astype(np.float64)),
            theme=theme(),
        ),
    )
    left, right = st.columns([6, 5], gap="medium")
    with left:
        st.header(title)
        facts = [
            ("σ", sigma, "Singular value"),
            ("v · x", projection, "How much of what v looks for is in the input"),
            ("σ (v · x)", effect, "How much of u is written here"),
            (f"cos(v, {x_name})", own_cosine, "Whether v looks for what stands here"),
        ]
        st.html(strip_of(*(fact(name, format_number(value), meaning) for name, value, meaning in facts)))
        said = f"σ = {format_number(sigma)}, signed so that u · y ≥ 0 ({dtype})."
        show(readout, f"{key}readout", f"{said} {note}" if note else said)
    with right:
        st.header("Its effect on the likely next tokens")
        st.html(strip_of(fact("w · u σ (v · x)")))
        show(effects, f"{key}targets", f"In logits ({dtype}); w is the token's row of the unembedding.")


def cosine(a: Vector, b: Vector) -> float:
    """cos(a, b); 0 where one of them is zero."""
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else 0.0
