"""Page Tokens: the prediction as a sum over the input tokens, and what the model does without each of them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from pages.contributions.charts import SIDE_BY_SIDE, chips, comes_about, next_tokens, vectors
from pages.contributions.choices import Choices, choose_split, in_words
from pages.contributions.measured import (
    agreement_words,
    deletion_curves,
    freezing_hides,
    leave_one_out_bars,
    map_table,
    measured_or_asked,
    other_maps,
)
from pages.frame.entry import through_app
from pages.visit.page_jobs import watch
from pages.visit.session import session
from pages.widgets.charts import numbers_of
from pages.widgets.code import of_explained, page_code_button
from pages.widgets.explained import as_kind, choose
from pages.widgets.heading import heading
from pages.widgets.nothing_yet import nothing_yet
from pages.widgets.tabs import tabs

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import TokenRun
    from eqlin_core.runs.split import Split
    from pages.widgets.explained import Explained
    from pages.worker.request import Request

through_app(__file__)

NEXT = "Likely next tokens"


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    state = session()
    if state.tokens is None or state.shown is None:
        nothing_yet("the contributions")
        return

    beside = heading(
        "Who adds what?",
        "At this prompt the model is a linear map, so the prediction is exactly a sum of one term per input token. "
        "There is more than one such map, and all are exact; how well one foretells what the model does without a "
        "token is measured beside it. Blue terms add to the target, orange ones take from it; · marks a space.",
    )
    chosen: list[Choices] = []
    explained = choose(state.tokens, beside=lambda: chosen.append(choose_split()))
    (choices,) = chosen
    with st.container():  # a place of its own, also while there is nothing to say
        run = state.split_tokens()
        if isinstance(run, str):
            st.warning(run, icon=":material/info:")
            run = state.split_run
        if run is None:
            st.caption("The split appears here in a moment.")
            return
    # What is shown, which is not yet what was chosen while that is computed, and never where it cannot be.
    split = replace(choices.split, baseline=run.baseline, convention=run.key.convention)
    explained = as_kind(explained, split.target, run)
    watch()
    with numbers_of(run.key):
        parts(state.shown, run, split, explained, choices.apart)
    by = state.shown.by(split.convention)
    page_code_button(beside, "tokens", by, baseline=run.baseline, **of_explained(explained))


def parts(request: Request, run: TokenRun, split: Split, explained: Explained, apart: bool) -> None:
    """What the page is made of, below its choices."""
    loo = measured_or_asked(request, run, explained) if run.complete else None
    maps = other_maps(request, split, explained) if run.complete else None
    in_words(run, explained, request.begin)
    chips(run, explained)
    with st.container():  # one place, whatever is in it: what follows stays where it is
        few = run.complete and len(run.tokens) <= SIDE_BY_SIDE
        left, right = st.columns([4, 3], gap="medium") if few else (st.container(), st.container())
    with left:
        comes_about(run, explained, maps, apart)
    if run.complete:
        with right:
            leave_one_out_bars(run, explained, loo, apart)
    with st.container():
        agreement_words(run, explained, loo, maps)
    more = {NEXT: partial(next_tokens, run, explained)}
    if run.complete:
        more |= {
            "Other exact maps": partial(map_table, run, maps),
            "What freezing hides": partial(freezing_hides, request, run, split, explained),
            "Size and direction": partial(vectors, run),
        }
        if explained.second is None and len(run.tokens) > 1:
            more["Deleting in order"] = partial(deletion_curves, request, split, explained)
    tabs("more", more)


page()
