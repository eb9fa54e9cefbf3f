"""What the page Steering shows of a grid: both texts under the slider, the metrics, the operator, the table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import Provenance, format_number, visible_token
from eqlin_core.figures.steered_text import marked_html
from eqlin_core.figures.steering import depth_guide, steering_forecast, steering_metrics
from eqlin_core.runs.steering import UNLIKELY, SteeringGrid, Text
from eqlin_core.version import __version__
from pages.steered.jobs import file
from pages.steered.sliders import Choices, shown_strength, strengths
from pages.steered.state import Steering, steering
from pages.widgets.charts import download, numbers_of, show
from pages.widgets.downloads import download_answer
from pages.widgets.facts import code, fact, strip_of
from pages.widgets.tabs import tabs
from pages.widgets.theme import theme

# The table of strengths, in pixels: a text of 24 tokens and all 21 rows of a grid are seen whole, at 1280 pixels too.
NUMBER_WIDTH, TEXT_WIDTH, ROW_HEIGHT, HEADER_HEIGHT, TABLE_ROWS = 64, 660, 28, 38, 21


def texts(*, alone: bool = False) -> None:
    """The slider and both texts, and unless ``alone`` what is known of them in tabs; in a fragment of their own."""

    @st.fragment
    def explore() -> None:
        now = steering()
        shown = now.shown
        if shown is None:
            return
        own = shown.texts[shown.unsteered]
        row = strengths(
            Choices(
                shown.strengths,
                [_text(shown, text, own) for text in shown.texts],
                [_numbers(shown, row) for row in range(len(shown.texts))],
                _text(shown, own, own),
            )
        )
        with st.container():
            if now.shipped:
                here = "." if alone else "; Steer computes it here."
                st.caption(f"Shipped with eqlin {__version__}, which computed it before{here}")
            if shown.measured is None:
                st.caption("The metrics of this grid are being computed.")
        if not alone:
            _between(now, shown)
            with numbers_of(_source(now, shown)):
                tabs("about", _parts(now, shown, row))

    explore()


def _source(state: Steering, grid: SteeringGrid) -> Provenance:
    """Where a grid's numbers come from: its prompt, and in the place of an explained token its concept."""
    plan = grid.plan
    model = "" if state.source is None else state.source.model
    return Provenance(model, plan.prompt, plan.concept, grid.dtype, plan.convention.words, __version__)


def _parts(state: Steering, grid: SteeringGrid, row: int) -> dict[str, Callable[[], None]]:
    """The tabs under the texts, by name."""
    parts: dict[str, Callable[[], None]] = {}
    if len(grid.strengths[0]) == 1:
        parts["What the strength does"] = partial(_chart, grid, grid.strengths[row][0])
        parts["Forecast"] = partial(_forecast, grid)
    parts["Where the concept lives"] = partial(_guide, state, grid)
    parts["Operator"] = partial(_operators, state, grid)
    parts["Every strength"] = partial(_table, grid)
    return parts


def _text(grid: SteeringGrid, text: Text, own: Text) -> str:
    return marked_html(grid.plan.prompt, text.text, own.text, theme(), ended=text.ended)


def _numbers(grid: SteeringGrid, row: int) -> str:
    """The metrics of one row as HTML, with the control's in grey; nothing while they are being computed."""
    measured, control = grid.measured, grid.control
    if measured is None:
        return ""
    said = "".join(grid.continuation).strip()
    facts = [
        (f"log p of “{said}”", measured.concept, None if control is None else control.concept),
        ("KL from unsteered", measured.divergence, None if control is None else control.divergence),
        ("perplexity, unsteered model", measured.perplexity, None if control is None else control.perplexity),
    ]
    cells = []
    for name, values, random in facts:
        beside = "" if random is None else f' <span class="eq-p">random {format_number(random[row])}</span>'
        cells.append(fact(name, format_number(values[row]), beside=beside))
    return strip_of(*cells)


def _between(state: Steering, grid: SteeringGrid) -> None:
    """One text at a strength between those of the grid, generated now."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        value = st.number_input(
            "Any other strength", 0.0, 100.0, value=0.75, step=0.05, key="between", width=180, format="%.3f"
        )
        strength = (value, *[float(s) for s in [st.session_state.get("lambda2", 0.0)] * (len(grid.strengths[0]) - 1)])
        if st.button("Generate", key="generate", disabled=state.live is not None):
            state.generate(strength)
            st.rerun(scope="app")
    with st.container():
        if state.live_text is not None:
            st.header(f"Steered, λ = {shown_strength(state.live_strength)}")
            st.html(_text(grid, state.live_text, grid.texts[grid.unsteered]))


def _chart(grid: SteeringGrid, position: float) -> None:
    if grid.measured is None:
        st.caption("It appears here once the metrics are computed.")
        return
    measured, control = grid.measured, grid.control
    # The interpolation is unsteered at 1: its smallest strength of a token says nothing.
    flip = grid.flip if grid.plan.form == "reference" else None
    st.header("What the strength does")
    show(
        steering_metrics(
            np.array([s[0] for s in grid.strengths]),
            measured.concept,
            measured.divergence,
            measured.perplexity,
            control=None if control is None else (control.concept, control.divergence, control.perplexity),
            position=position,
            flip=None if flip is None else flip.strength,
            breaks_down=grid.breaks_down,
            theme=theme(),
        ),
        "steering-metrics",
        " ".join([flip.sentence if flip else "", _breakdown(grid), f"({grid.dtype})"]).strip(),
    )


def _breakdown(grid: SteeringGrid) -> str:
    if grid.plan.form != "reference":
        return ""
    if grid.breaks_down is None:
        return "No text of the grid breaks down."
    return (
        f"From λ = {grid.breaks_down:g} on the text breaks down: fewer than half of its tokens differ, or its "
        f"perplexity is above {UNLIKELY:g}."
    )


def _forecast(grid: SteeringGrid) -> None:
    forecast = grid.forecast
    if forecast is None:
        st.caption("It appears here once it is computed.")
        return
    st.header("Forecast and reality")
    show(
        steering_forecast(
            forecast.strengths,
            forecast.tokens,
            forecast.real,
            forecast.frozen,
            forecast.tangent,
            linear_until=forecast.linear_until if grid.plan.form == "reference" else None,
            theme=theme(),
        ),
        "steering-forecast",
        f"Linear up to λ = {format_number(forecast.linear_until)}: until there the derivative's forecast of all "
        f"logits' change is off by less than a quarter ({grid.dtype})."
        if grid.plan.form == "reference"
        else f"Both forecasts start from λ = 1, where nothing is steered ({grid.dtype}).",
    )


def _guide(state: Steering, grid: SteeringGrid) -> None:
    concept, depth = grid.plan.concept, grid.plan.layers
    if grid.plan.file is not None:  # then the file says what it holds
        concept, depth = (grid.operators[0].concept, grid.operators[0].layers) if grid.operators else ("", 0)
    guide = state.guide(concept)
    if guide is None or guide.concept != concept:
        st.caption("It appears here in a moment.")
        return
    st.header("Where the concept lives")
    show(
        depth_guide(guide.log_probability, guide.reads, guide.said, depth=depth, theme=theme()),
        "depth-guide",
        f"How likely, after each block, is what the concept leads to in the end, “{visible_token(guide.said)}” "
        f"({grid.dtype}).",
    )


def _operators(state: Steering, grid: SteeringGrid) -> None:
    """What is known of the one or two operators, and the first one's file."""
    two = len(grid.strengths[0]) == 2
    st.header("The operators" if two else "The operator")
    for facts in grid.operators:
        name = f" of {code(facts.concept)}" if two and facts.concept else ""
        words = " ".join(f"`{visible_token(token)}`" for token, _ in facts.push_reads)
        ranks = ", ".join(
            f"{visible_token(token)} {format_number(rank)}"
            for token, rank in zip(facts.tokens, facts.stable_rank, strict=True)
        )
        st.caption(f"The push{name} at the prompt's end reads as {words}")
        st.caption(f"Stable ranks: {ranks} ({grid.dtype})")
    if two and grid.operators and grid.operators[1].angle is not None and grid.operators[1].push_angle is not None:
        st.caption(
            f"The two operators stand at {format_number(grid.operators[1].angle)}°, their pushes at the prompt's end "
            f"at {format_number(grid.operators[1].push_angle)}°."
        )
    if state.source is not None:
        download_answer(
            "Operator",
            file(state.source, grid.plan),
            "operator.safetensors",
            key="operator-file",
            help="The first concept's operator, for load_operator() in Python. Its header says what it is.",
        )


def _table(grid: SteeringGrid) -> None:
    st.header("Every strength")
    columns: dict[str, list[object]] = {}
    for i in range(len(grid.strengths[0])):
        columns["λ" if i == 0 else f"λ{i + 1}"] = [s[i] for s in grid.strengths]
    if grid.measured is not None:
        columns["log p"] = list(grid.measured.concept)
        columns["KL"] = list(grid.measured.divergence)
        columns["perplexity"] = list(grid.measured.perplexity)
    columns["continuation"] = [t.text.strip() for t in grid.texts]
    if grid.control_texts:
        columns["random operator"] = [t.text.strip() for t in grid.control_texts]
    config: dict[str, Any] = {
        name: st.column_config.NumberColumn(format="%.3g", width=NUMBER_WIDTH)
        for name in ("λ", "λ2", "log p", "KL", "perplexity")
    }
    config |= {name: st.column_config.TextColumn(width=TEXT_WIDTH) for name in ("continuation", "random operator")}
    st.dataframe(
        columns,
        hide_index=True,
        key="steering-table",
        row_height=ROW_HEIGHT,
        height=min(len(grid.strengths), TABLE_ROWS) * ROW_HEIGHT + HEADER_HEIGHT,
        column_config=config,
    )
    download(figures.Chart("steering-table", go.Figure(), columns), "steering-table")
