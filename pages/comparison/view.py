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
    from eqlin_core.runs.compare_spectra import ReadChange

IN_LIST = 12  # tokens that come or go


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


def spectra(found: RunComparison) -> None:
    """Singular values of aligned tokens, angles between what they write and read, read-outs that come and go."""
    both = found.spectra
    if both is None:
        st.info("Spectra can be compared once those of A and of B are there: pin A after its spectra have come.")
        return
    if not both.pairs:
        st.caption("No tokens are aligned.")
        return
    pairs = [(found.a.tokens[i], found.b.tokens[j]) for i, j in both.pairs]
    labels = [
        f"{i} {visible_token(a)}" + ("" if (i, a) == (j, b) else f" → {j} {visible_token(b)}")
        for (i, j), (a, b) in zip(both.pairs, pairs, strict=True)
    ]
    chosen = st.selectbox("Aligned token", labels, index=len(labels) - 1, key="aligned", width=320)
    row = labels.index(chosen)
    left, right = st.columns(2, gap="medium")
    with left:
        st.header("Singular values")
        show(
            figures.compared_spectra(both.S_a, both.S_b, pairs, highlight=row, theme=theme()),
            "compared-spectra",
            f"Of the sidebar's map: {found.a.split.convention.words} in A, {found.b.split.convention.words} in B "
            f"({found.a.key.dtype}, {found.b.key.dtype}).",
        )
    with right:
        st.header("Angles between leading subspaces")
        if both.left_angles is None or both.right_angles is None:
            st.caption(found.missing.get("spectra.left_angles", "The widths differ, so there are no angles."))
        else:
            show(
                figures.subspace_angles(
                    {"written: u": both.left_angles[row], "read: v": both.right_angles[row]},
                    name=labels[row],
                    theme=theme(),
                ),
                "subspace-angles",
                f"Principal angles between the spans of the first {both.leading} triplets, in degrees.",
            )
    _change("What the leading u write", both.writes[row])
    _change("What the leading v look for", both.reads[row])


def _change(what: str, change: ReadChange) -> None:
    lists = [
        (name, [visible_token(token) for token in list(tokens)[:IN_LIST]], len(tokens))
        for name, tokens in (("only in A", change.vanish), ("in both", change.stay), ("only in B", change.appear))
    ]
    st.markdown(
        f"**{what}** — "
        + "; ".join(
            f"{name}: " + (" ".join(f"`{token}`" for token in tokens) or "none") + (" …" if count > IN_LIST else "")
            for name, tokens, count in lists
        )
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
