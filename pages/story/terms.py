"""Step 3: the waterfall, with the switch between two of the exact maps in view, and what was measured of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_error
from pages.story.steps import CHART_HEIGHT
from pages.visit.session import session
from pages.widgets.charts import at_height, numbers_of, show
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import TokenRun
    from pages.widgets.explained import Explained

PUBLISHED, MEASURED = "as published", "chosen by measurement"
# Mean rank agreement with leave-one-out on the lists facts, patterns and paragraphs (docs/faithfulness.md).
AGREEMENT = {PUBLISHED: (0.14, 0.16, 0.17), MEASURED: (0.56, 0.40, 0.27)}


def terms(published: TokenRun, explained: Explained) -> None:
    """The switch and the waterfall by the chosen map; of the published one while the other is not there."""
    chosen = st.segmented_control(
        "Which exact map",
        [MEASURED, PUBLISHED],
        default=MEASURED,
        required=True,
        key="story_map",
        bind="query-params",
        help="Both sums are exact. They hold other factors of a product constant: the published map holds every gate "
        "and all attention, the other one half of each.",
    )
    measured = session().split_tokens()
    run = measured if chosen == MEASURED and not isinstance(measured, str) and measured is not None else published
    values, bias, total = run.split(explained.direction)
    summed = bias + float(np.sum(values))
    st.markdown(_said(PUBLISHED if run is published else MEASURED))
    with numbers_of(run.key):
        show(
            at_height(
                figures.waterfall(
                    bias,
                    values,
                    total,
                    run.tokens,
                    explained=explained.name,
                    tolerance=run.bounds[0] * 100,
                    theme=theme(),
                ),
                CHART_HEIGHT,
            ),
            "story-waterfall",
            f"Sum {summed:.6g}, logit {total:.6g}, apart by {format_error(abs(summed - total))} ({run.key.dtype}); "
            f"map {run.key.convention.words}.",
        )


def _said(chosen: str) -> str:
    facts, patterns, paragraphs = AGREEMENT[chosen]
    return (
        "**Exact is not yet true.** Both maps sum to the same logit, by other terms. Does a large term mean that the "
        "model needs the word? Words were deleted to measure it: on three lists of prompts the order of the terms "
        f"agrees with that at **{facts:.2f}**, **{patterns:.2f}** and **{paragraphs:.2f}** by this map (1 is perfect, "
        "0 chance)."
    )
