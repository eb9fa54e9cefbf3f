"""Page Tokens: which input tokens made the prediction."""

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_error, format_number
from pages.shared.charts import show, theme
from pages.shared.explained import choose
from pages.shared.session import session

run = session().tokens
if run is None:
    if not session().error:
        st.info("The first analysis is on its way: the model is loaded once, then the contributions appear here.")
    st.stop()

explained = choose(run)
terms, bias, total = run.split(explained.direction)

st.html(figures.chips_html(run.tokens, terms, theme=theme(), explained=explained.name))
parts = bias + float(np.sum(terms))
st.header(f"How the {explained.text} comes about")
show(
    figures.waterfall(
        bias, terms, total, run.tokens, explained=explained.name, tolerance=run.bounds[0] * 100, theme=theme()
    ),
    "waterfall",
    f"Bias and tokens sum to {parts:.6g}; the logit is {total:.6g}. They differ by "
    f"{format_error(abs(parts - total))} ({run.key.dtype}).",
)

left, right = st.columns(2, gap="medium")
with left:
    st.header("Input tokens × likely next tokens")
    rows = np.stack([target.row for target in run.targets])
    names = [target.token for target in run.targets]
    marked = next((i for i, t in enumerate(run.targets) if t.token_id == explained.first.token_id), None)
    show(
        figures.token_target_heatmap(
            run.contributions @ rows.T,
            run.tokens,
            names,
            explained=marked,
            probabilities=[target.probability for target in run.targets],
            theme=theme(),
        ),
        "heatmap",
        f"w · Jᵢxᵢ in logits ({run.key.dtype}). Each row sums to its token's logit less the bias term.",
    )
with right:
    st.header("Size and direction of the contributions")
    show(
        figures.norms_and_cosines(run.norms, run.cosines, run.tokens, theme=theme()),
        "norms",
        f"‖y‖ = {format_number(float(np.linalg.norm(run.output)))} ({run.key.dtype}).",
    )
