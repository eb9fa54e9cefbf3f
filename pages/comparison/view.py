"""What page Compare shows: the way from A's target to B's, and in tabs what else the two runs differ in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_error, visible_token
from pages.comparison.sides import names
from pages.widgets.charts import show
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.runs.compare import RunComparison


def way(found: RunComparison) -> None:
    """The sentence, the aligned terms and the waterfall of their changes."""
    dtypes = " and ".join(dict.fromkeys([found.a.key.dtype, found.b.key.dtype]))
    st.header("From A to B, token by token")
    show(
        figures.compared_terms(
            found.terms_a,
            found.terms_b,
            found.tokens,
            constants=(found.a.constant, found.b.constant),
            totals=(found.a.total, found.b.total),
            explained=names(found),
            bound=found.bound,
            theme=theme(),
        ),
        "compared-terms",
        f"{found.a.total:.5g} to {found.b.total:.5g}: the changes sum to {found.total - found.remainder:+.5g}, apart "
        f"from the difference by {format_error(abs(found.remainder))} ({dtypes}).",
    )
    for remark in found.remarks:
        st.caption(remark)


def differences(found: RunComparison) -> None:
    """What A and B were asked for, where that differs."""
    if not found.differs:
        st.caption("A and B were asked for the same, and are the same run.")
        return
    what, a, b = zip(*found.differs, strict=True)
    st.dataframe({"": list(what), "A": list(a), "B": list(b)}, hide_index=True, key="differs")


def next_tokens(found: RunComparison) -> None:
    """The likely next tokens of both."""
    left, right = st.columns(2, gap="medium")
    most = max(p for side in (found.a, found.b) for _, p in side.predictions)
    for place, side, name in ((left, found.a, "A"), (right, found.b, "B")):
        with place:
            st.header(f"Next tokens in {name}")
            show(
                figures.top_tokens(
                    side.predictions[:10],
                    side.explained,
                    "next-token probability",
                    most=most,
                    theme=theme(),
                ),
                f"next-{name}",
                f"Marked: what is explained ({side.key.dtype}).",
            )


def largest(found: RunComparison) -> str:
    """The tokens that change most, in words."""
    changes = found.difference
    order = np.argsort(-np.abs(changes))[:2]
    said = []
    for i in order:
        a, b = found.tokens[int(i)]
        name = " → ".join(dict.fromkeys(visible_token(token) for token in (a, b) if token is not None))
        said.append(f"`{name}` {changes[int(i)]:+.3g}".replace("-", "−"))
    return (
        f"From **{found.a.total:.4g}** in A to **{found.b.total:.4g}** in B. What changes most: {', '.join(said)}"
        + (f"; the constant {found.constant:+.3g}." if abs(found.constant) > 1e-3 else ".").replace("-", "−")
    )
