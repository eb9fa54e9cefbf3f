"""Page Tokens: how much each input token's term adds to a logit."""

import streamlit as st

from pages.contributions.charts import chips, next_tokens, sum_and_vectors
from pages.frame.entry import through_app
from pages.visit.session import session
from pages.widgets.explained import choose
from pages.widgets.nothing_yet import nothing_yet

through_app(__file__)


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    run = session().tokens
    if run is None:
        nothing_yet("the contributions")
        return

    st.caption(
        "At this prompt the model is a linear map, so the logit of any next token is exactly a sum of one term for "
        "each input token: w · Jᵢxᵢ, where Jᵢxᵢ is what token i contributes to the output embedding y and w is the "
        "explained token's row of the unembedding. Blue tokens speak for it, orange ones against it; · marks a space, "
        "⏎ a line break."
    )
    explained = choose(run)
    chips(run, explained)
    sum_and_vectors(run, explained)
    next_tokens(run, explained)


page()
