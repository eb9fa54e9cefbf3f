"""The charts of page Tokens: how a logit comes about, the contributions as vectors, and tokens by next tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_error, format_number
from pages.visit.session import session
from pages.widgets.charts import show
from pages.widgets.text import clickable_text
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.runs.deletion import ConventionsRun
    from eqlin_core.runs.prompt import TokenRun
    from pages.widgets.explained import Explained

# Up to so many tokens the waterfall is still readable beside another chart.
SIDE_BY_SIDE = 12


def chips(run: TokenRun, explained: Explained) -> None:
    """The tokens of the text, coloured by what each adds to the explained target; a click explains another one."""
    terms, _, _ = run.split(explained.direction)
    text = session().text()
    if isinstance(text, str):
        st.caption(text)
    else:
        clickable_text(text, "chips", terms, f" of the {explained.text}")


def comes_about(run: TokenRun, explained: Explained, maps: ConventionsRun | None, apart: bool) -> None:
    """The target as a sum: from the bias through every token's term."""
    terms, bias, total = run.split(explained.direction)
    waterfall = figures.waterfall(
        bias,
        terms,
        total,
        run.tokens,
        explained=explained.name,
        apart=apart,
        hatched=maps.differs(run.key.convention) if maps is not None else (),
        tolerance=run.bounds[0] * 100,
        theme=theme(),
    )
    st.header(f"How the {explained.text} comes about")
    show(waterfall, "waterfall", _difference(bias + float(np.sum(terms)), total, run.key.dtype, explained))


def next_tokens(run: TokenRun, explained: Explained) -> None:
    """What each input token adds to the targets of the likely next tokens."""
    st.header("Input tokens × likely next tokens")
    marked = next((i for i, t in enumerate(run.targets) if t.token_id == explained.first.token_id), None)
    rows = np.stack([target.row for target in run.targets])
    likely = explained.kind == "log-probability" and run.expected is not None
    show(
        figures.token_target_heatmap(
            run.contributions @ (rows - run.expected if likely else rows).T,
            run.tokens,
            [figures.LogProbability(t.token) if likely else t.token for t in run.targets],
            explained=marked,
            probabilities=[target.probability for target in run.targets],
            theme=theme(),
        ),
        "heatmap",
        f"Each row sums to its token's {explained.kind} less the bias term ({run.key.dtype}).",
    )


def _difference(parts: float, total: float, dtype: str, explained: Explained) -> str:
    what = "the logit is" if explained.kind == "logit" else "w · y, the logit less the mean of all logits, is"
    what = what if explained.second is None else "the difference of the two logits is"
    return (
        f"Bias and tokens sum to {parts:.6g}, {what} {total:.6g}; they differ by "
        f"{format_error(abs(parts - total))} ({dtype})."
    )


def vectors(run: TokenRun) -> None:
    """The contributions as vectors: how long each is, and how far it points the output's way."""
    st.header("Size and direction of the contributions")
    if not run.complete:
        st.info("The contributions as vectors take a pass for every token of the prompt. They appear here.")
    else:
        norms = figures.norms_and_cosines(run.norms, run.cosines, run.tokens, theme=theme())
        show(norms, "norms", f"‖y‖ = {format_number(float(np.linalg.norm(run.output)))} ({run.key.dtype}).")
