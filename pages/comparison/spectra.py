"""The spectra of two runs on page Compare: of aligned tokens, and of all tokens together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_number, visible_token
from eqlin_core.runs.compare import compare_runs
from pages.triplets.jobs import joint
from pages.visit.page_jobs import page_jobs, waiting
from pages.widgets.charts import show
from pages.widgets.theme import theme
from pages.worker import analysis

if TYPE_CHECKING:
    from eqlin_core.runs.compare import RunComparison
    from eqlin_core.runs.compare_spectra import ReadChange
    from eqlin_core.runs.prompt import SpectrumRun, TokenRun
    from pages.visit.session import Pinned
    from pages.worker.request import Request

IN_LIST = 12  # tokens that come or go
ALL = "all tokens together"
_SPECTRA_A, _JOINT = "spectra A", ("joint A", "joint B")


def spectra(pinned: Pinned, request: Request, run: TokenRun, known: SpectrumRun | None) -> None:
    """Of the sidebar's map, whatever the split is by: singular values, angles, and read-outs that come and go."""
    before = pinned.spectra or page_jobs().want(_SPECTRA_A, analysis.spectra(pinned.request))
    if before is None:
        waiting(_SPECTRA_A, "the comparison of the spectra")
        return
    if known is None:
        st.caption("Here the comparison appears when B's spectra are finished.")
        return
    found = compare_runs(pinned.tokens, run, spectra_a=before, spectra_b=known)
    both = found.spectra
    assert both is not None  # both were given
    pairs = [(found.a.tokens[i], found.b.tokens[j]) for i, j in both.pairs]
    labels = [
        f"{i} {visible_token(a)}" + ("" if (i, a) == (j, b) else f" → {j} {visible_token(b)}")
        for (i, j), (a, b) in zip(both.pairs, pairs, strict=True)
    ]
    options = [*labels, ALL]
    if st.session_state.get("aligned", st.query_params.get("aligned")) not in options:
        st.session_state["aligned"] = (labels or options)[-1]
    chosen = st.selectbox("Aligned token", options, key="aligned", bind="query-params", width=320)
    if chosen == ALL:
        _all_together(pinned, request, run)
        return
    row = labels.index(chosen)
    left, right = st.columns(2, gap="medium")
    with left:
        st.header("Singular values")
        show(
            figures.compared_spectra(both.S_a, both.S_b, pairs, highlight=row, theme=theme()),
            "compared-spectra",
            _of(found),
        )
    with right:
        st.header("Angles between leading subspaces")
        if both.left_angles is None or both.right_angles is None:
            st.caption(found.missing.get("spectra.left_angles", "The widths differ, so there are no angles."))
        else:
            angles = {"written: u": both.left_angles[row], "read: v": both.right_angles[row]}
            _angles(angles, labels[row], both.leading)
    _change("What the leading u write", both.writes[row])
    _change("What the leading v look for", both.reads[row])


def _all_together(pinned: Pinned, request: Request, run: TokenRun) -> None:
    """The same of [J₁ J₂ …], whose v spans other tokens in A than in B, and is compared by what it reads alone."""
    a, b = (page_jobs().want(name, joint(of)) for name, of in zip(_JOINT, (pinned.request, request), strict=True))
    if a is None or b is None:
        waiting(_JOINT[0] if a is None else _JOINT[1], "the comparison of the joint spectra")
        return
    found = compare_runs(pinned.tokens, run, joint_a=a, joint_b=b)
    both = found.joint
    assert both is not None  # both were given
    left, right = st.columns(2, gap="medium")
    with left:
        st.header("Singular values")
        show(
            figures.compared_spectra(np.array([both.S_a]), np.array([both.S_b]), [(ALL, ALL)], theme=theme()),
            "compared-joint-spectra",
            f"Stable ranks {format_number(both.stable_rank_a)} in A, {format_number(both.stable_rank_b)} in B. "
            + _of(found),
        )
    with right:
        st.header("Angles between leading subspaces")
        if both.left_angles is None:
            st.caption(found.missing.get("joint.left_angles", "The widths differ, so there are no angles."))
        else:
            _angles({"written: u": both.left_angles}, ALL, both.leading)
    _change("What the leading u write", both.writes)
    _change("What the leading v look for", both.reads)


def _of(found: RunComparison) -> str:
    maps = dict.fromkeys([found.a.split.convention.words, found.b.split.convention.words])
    dtypes = dict.fromkeys([found.a.key.dtype, found.b.key.dtype])
    return f"Of the sidebar's map, {' in A and in B '.join(maps)} ({', '.join(dtypes)})."


def _angles(angles: dict[str, np.ndarray], name: str, leading: int) -> None:
    show(
        figures.subspace_angles(angles, name=name, theme=theme()),
        "subspace-angles",
        f"Principal angles between the spans of the first {leading} triplets, in degrees.",
    )


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
