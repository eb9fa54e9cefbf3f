"""Page Compare: two runs side by side, and the exact difference of what they explain."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from eqlin_core.runs.compare import compare_runs
from pages.comparison.sides import cards, explained_in, pinned_or_asked, source
from pages.comparison.spectra import spectra
from pages.comparison.swaps import swapped
from pages.comparison.view import differences, largest, next_tokens, way
from pages.contributions.choices import choose_split
from pages.frame.entry import through_app
from pages.visit.page_jobs import watch
from pages.visit.session import session
from pages.widgets.charts import numbers_of
from pages.widgets.code import end_of, page_code_button
from pages.widgets.heading import heading
from pages.widgets.nothing_yet import nothing_yet
from pages.widgets.report import report_button
from pages.widgets.tabs import tabs
from pages.worker.analysis import KEPT_TRIPLETS

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import Target, TokenRun
    from eqlin_core.runs.split import TargetKind
    from pages.worker.request import Request

through_app(__file__)


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    beside = heading(
        "What changed, and by which tokens?",
        "Two prompts, two maps, two precisions or two models: the difference of what A and B explain is exactly the "
        "sum of what each aligned token changed by.",
    )
    state = session()
    if state.tokens is None or state.shown is None:
        nothing_yet("the comparison")
        return
    pinned = pinned_or_asked()
    if pinned is None:
        return
    b = state.split_tokens()
    b = b if b is not None and not isinstance(b, str) and b.complete else state.tokens
    if not (b.complete and pinned.split.complete):
        st.info("The comparison appears as soon as the contributions of both are there.")
        return
    target_a, target_b = explained_in(pinned.split, b, beside=choose_split)
    found = compare_runs(pinned.split, b, kind=state.split.target, target_a=target_a, target_b=target_b)
    watch()
    cards(found)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(largest(found))
        report_button(
            pinned.split,
            pinned.request,
            "report-of-both",
            compared_with=b,
            kind=state.split.target,
            target=target_a,
            compared_target=target_b,
        )
    frozen: list[str] = []
    with numbers_of(source(found)):
        way(found)
        tabs(
            "compared",
            {
                "What differs": partial(differences, found),
                "Next tokens": partial(next_tokens, found),
                "Swapped tokens": partial(
                    swapped,
                    ((pinned.request, pinned.split, target_a), (state.shown, b, target_b)),
                    state.split.target,
                    frozen.append,
                ),
                "Spectra and angles": partial(spectra, pinned, state.shown, state.tokens, state.spectra),
            },
        )
    sides = [
        _choices(asked, run, target, found.a.split.target)
        for asked, run, target in ((pinned.request, pinned.split, target_a), (state.shown, b, target_b))
    ]
    sides[0]["frozen_at"] = frozen[0] if frozen else ""
    page_code_button(beside, "compare", pinned.request, compared=(state.shown, sides[1]), **sides[0])


def _choices(request: Request, run: TokenRun, target: Target, kind: TargetKind) -> dict[str, Any]:
    """What the code of this page needs of A or of B: a split may be by another map than the sidebar's."""
    by = run.key.convention
    return {
        "kind": kind,
        "target": target.token_id,
        "baseline": run.baseline,
        "k": KEPT_TRIPLETS,
        "heads_by": None if by == request.convention else by,
        **end_of(request, run),
    }


page()
