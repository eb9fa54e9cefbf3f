"""Page Tokens: which input tokens made the prediction."""

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_error, format_number
from pages.frame.entry import through_app
from pages.visit.session import session
from pages.widgets.charts import equal_heights, show
from pages.widgets.explained import choose
from pages.widgets.theme import theme

through_app(__file__)

# Up to so many tokens the waterfall is still readable beside another chart.
SIDE_BY_SIDE = 12


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    run = session().tokens
    if run is None:
        if not session().error:
            st.info("The first analysis is on its way: the model is loaded once, then the contributions appear here.")
        return

    st.caption(
        "At this prompt the model is a linear map, so the logit of any next token is exactly a sum of one term for "
        "each input token: w · Jᵢxᵢ, where Jᵢxᵢ is what token i contributes to the output embedding y and w is the "
        "explained token's row of the unembedding. Blue tokens speak for it, orange ones against it; · marks a space, "
        "⏎ a line break."
    )
    explained = choose(run)
    terms, bias, total = run.split(explained.direction)
    st.html(figures.chips_html(run.tokens, terms, theme=theme(), explained=explained.name))

    few = len(run.tokens) <= SIDE_BY_SIDE
    waterfall = figures.waterfall(
        bias, terms, total, run.tokens, explained=explained.name, tolerance=run.bounds[0] * 100, theme=theme()
    )
    norms = figures.norms_and_cosines(run.norms, run.cosines, run.tokens, theme=theme()) if run.complete else None
    if few and norms is not None:
        equal_heights(waterfall, norms)
    left, right = st.columns([3, 2], gap="medium") if few else (st.container(), st.container())
    with left:
        parts = bias + float(np.sum(terms))
        st.header(f"How the {explained.text} comes about")
        show(
            waterfall,
            "waterfall",
            f"Bias and tokens sum to {parts:.6g}, the logit is {total:.6g}; they differ by "
            f"{format_error(abs(parts - total))} ({run.key.dtype}).",
        )
    with right:
        st.header("Size and direction of the contributions")
        if norms is None:
            st.info("The contributions as vectors take a pass for every token of the prompt. They appear here.")
        else:
            show(norms, "norms", f"‖y‖ = {format_number(float(np.linalg.norm(run.output)))} ({run.key.dtype}).")

    st.header("Input tokens × likely next tokens")
    marked = next((i for i, t in enumerate(run.targets) if t.token_id == explained.first.token_id), None)
    show(
        figures.token_target_heatmap(
            run.contributions @ np.stack([target.row for target in run.targets]).T,
            run.tokens,
            [target.token for target in run.targets],
            explained=marked,
            probabilities=[target.probability for target in run.targets],
            theme=theme(),
        ),
        "heatmap",
        f"w · Jᵢxᵢ in logits ({run.key.dtype}). Each row sums to its token's logit less the bias term.",
    )


page()
