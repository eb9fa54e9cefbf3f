"""Page Tokens: the prediction as a sum over the input tokens, and what the model does without each of them."""

from dataclasses import replace

import streamlit as st

from pages.contributions.charts import SIDE_BY_SIDE, chips, next_tokens, sum_and_vectors
from pages.contributions.choices import choose_split, in_words
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
from pages.widgets.explained import as_kind, choose
from pages.widgets.nothing_yet import nothing_yet

through_app(__file__)


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    state = session()
    if state.tokens is None or state.shown is None:
        nothing_yet("the contributions")
        return

    st.caption(
        "At this prompt the model is a linear map, so the prediction is exactly a sum of one term per input token. "
        "There is more than one such map, and more than one way to cut the sum. All are exact; how well one foretells "
        "what the model does without a token is measured below. Blue terms add to the target, orange ones take from "
        "it; · marks a space, ⏎ a line break."
    )
    explained = choose(state.tokens)
    choices = choose_split()
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
    request = state.shown
    loo = measured_or_asked(request, run, explained) if run.complete else None
    maps = other_maps(request, split, explained) if run.complete else None
    in_words(run, explained, request.begin)
    chips(run, explained)
    with st.container():
        agreement_words(run, explained, loo, maps)
    sum_and_vectors(run, explained, maps, choices.apart)
    if run.complete:
        few = len(run.tokens) <= SIDE_BY_SIDE
        with st.container():
            left, right = st.columns(2, gap="medium") if few else (st.container(), st.container())
        with left:
            leave_one_out_bars(run, explained, loo, choices.apart)
        with right:
            freezing_hides(request, run, split, explained)
    next_tokens(run, explained)
    if run.complete:
        map_table(run, maps)
        deletion_curves(request, run, split, explained)


page()
