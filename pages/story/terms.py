"""Step 3: the waterfall, with the switch between two of the exact maps in view, and what was measured of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_error
from eqlin_core.runs.convention import PUBLISHED
from pages.story.steps import chart_height
from pages.visit.session import session
from pages.widgets.charts import at_height, numbers_of, show
from pages.widgets.theme import theme
from pages.worker.request import DEFAULT_SPLIT

if TYPE_CHECKING:
    from pages.widgets.explained import Explained

AS_PUBLISHED, MEASURED = "as published", "chosen by measurement"
MAPS = {MEASURED: DEFAULT_SPLIT.convention, AS_PUBLISHED: PUBLISHED}
# Mean rank agreement with leave-one-out of the default model on the lists facts, patterns and paragraphs
# (docs/faithfulness.md).
AGREEMENT = {AS_PUBLISHED: (0.14, 0.16, 0.17), MEASURED: (0.56, 0.40, 0.27)}


def terms(explained: Explained) -> None:
    """The switch and the waterfall by the chosen map, whatever the sidebar and page Tokens are turned to."""
    chosen = st.segmented_control(
        "Which exact map",
        list(MAPS),
        default=MEASURED,
        required=True,
        key="story_map",
        bind="query-params",
        help="Both sums are exact. They hold other factors of a product constant: the published map holds every gate "
        "and all attention, the other one half of each.",
    )
    chosen = chosen or MEASURED
    run = session().by_map(MAPS[chosen])
    if isinstance(run, str):
        st.caption(run)
        return
    values, bias, total = run.split(explained.direction)
    summed = bias + float(np.sum(values))
    st.markdown(_said(chosen))
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
                chart_height(),
            ),
            "story-waterfall",
            f"Sum {summed:.6g}, logit {total:.6g}, apart by {format_error(abs(summed - total))} ({run.key.dtype}); "
            f"map {run.key.convention.words}.",
        )


def _said(chosen: str) -> str:
    facts, patterns, paragraphs = AGREEMENT[chosen]
    return (
        "**Exact is not yet true.** Both maps sum to the same logit, by other terms. Does a large term mean that the "
        "model needs the word? For the default model words were deleted to measure it: on three lists of prompts the "
        f"order of the terms agrees with that at **{facts:.2f}**, **{patterns:.2f}** and **{paragraphs:.2f}** by this "
        "map (1 is perfect, 0 chance)."
    )
