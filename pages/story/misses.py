"""Step 2: the error of the sum with every part frozen, and with none, as in the ordinary Jacobian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_error, format_number
from pages.matrices.jobs import reconstruction
from pages.matrices.reconstruction import DETACHED, EVERY, ORDINARY
from pages.story.steps import chart_height
from pages.visit.page_jobs import page_jobs, waiting
from pages.widgets.charts import at_height, show
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import TokenRun
    from pages.worker.request import Request


def misses(request: Request, run: TokenRun) -> None:
    """The histogram of both errors, and the sentence that compares them."""
    found = {
        name: page_jobs().want(f"story {name}", reconstruction(request, rules))
        for name, rules in ((DETACHED, EVERY), (ORDINARY, ()))
    }
    frozen, ordinary = found[DETACHED], found[ORDINARY]
    if frozen is None or ordinary is None:
        waiting(f"story {DETACHED if frozen is None else ORDINARY}", "the comparison")
        return
    st.markdown(
        "Softmax weights, norm denominators and gates are held at their values for this prompt. Then the sum "
        f"Σ Jᵢxᵢ misses the output by **{format_error(frozen.error)}** of its length. Let them move, and the ordinary "
        f"Jacobians' sum misses it by **{format_number(ordinary.error)}** times its length."
    )
    sums = {name: one.reconstructed for name, one in ((DETACHED, frozen), (ORDINARY, ordinary))}
    show(
        at_height(figures.error_histogram(run.output, sums, theme=theme()), chart_height()),
        "story-errors",
        f"Every one of the {run.width} numbers of the output embedding ({run.key.dtype}).",
    )
