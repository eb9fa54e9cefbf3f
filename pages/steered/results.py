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
from eqlin_core.runs.steering import UNLIKELY, NamedWord, SteeringGrid, SteeringPlan, Text, is_word
from eqlin_core.version import __version__
from pages.steered.jobs import file
from pages.steered.sliders import Choices, kept, nearest, put, room, shown_strength, strengths
from pages.steered.state import Steering, is_preset, source, steering
from pages.steered.watch import growing_texts
from pages.widgets.charts import download, numbers_of, show
from pages.widgets.downloads import download_answer
from pages.widgets.facts import code, fact, number_text, plain, strip_of
from pages.widgets.sentences import shortened
from pages.widgets.tabs import tabs
from pages.widgets.theme import theme

WORD = "concept_word"  # under which the word is kept that was chosen to name the concept
LINE = 30  # pixels that are kept for the line above the texts
BACKGROUND = 0.45  # opacity of what is of another question than the form's
BROKEN = (
    f"at two neighbouring strengths at most half of the tokens are distinct, or the perplexity is above {UNLIKELY:g}"
)
# The table of strengths, in pixels: a text of 24 tokens and all 21 rows of a grid are seen whole, at 1280 pixels too.
NUMBER_WIDTH, TEXT_WIDTH, ROW_HEIGHT, HEADER_HEIGHT, TABLE_ROWS = 64, 660, 28, 38, 21


def texts(stale: str = "", *, alone: bool = False) -> None:
    """The slider and both texts, and unless ``alone`` what is known of them in tabs; in a fragment of their own.

    ``stale`` says what they are of when that is something else than the form says: they stand in the background then.
    While the texts of a new grid grow in their place, the rest stays as it is.
    """
    state = steering()
    if state.shown is None:
        return
    suggested = state.suggestion()
    if suggested is not None:
        put(suggested)
    st.html(f"<style>.st-key-steered {{ opacity: {BACKGROUND if stale else 1}; }}</style>")
    with st.container(height=LINE, border=False, key="steering-note"):
        st.caption(stale or _note(state, state.shown, alone=alone) or " ")
    growing_texts()

    @st.fragment
    def explore() -> None:
        now = steering()
        shown = now.shown
        if shown is None:
            return
        with room():
            row = nearest(shown.strengths, kept(len(shown.strengths[0]))) if now.streaming else _slider(now, shown)
        if not alone:
            with numbers_of(_source(now, shown)):
                tabs("about", _parts(now, shown, row))

    with st.container(key="steered"):
        explore()


def old(state: Steering, plan: SteeringPlan) -> str:
    """What is on the screen, in words, when ``plan`` is what the form says and that is something else; else nothing."""
    shown = state.shown
    if shown is None or (source(), plan) == (state.source, shown.plan):
        return ""
    concept = shown.plan.concept if shown.plan.file is None else shown.plan.file.name
    of = " and ".join(f"‘{plain(shortened(c))}’" for c in (concept, shown.plan.second) if c.strip())
    what = f"Of {of} on ‘{plain(shortened(shown.plan.prompt))}’, {shown.plan.layers} blocks"
    computed = state.busy and state.asked == (source(), plan)
    return f"{what}; what you asked for is being computed." if computed else f"{what}; press Steer."


def _slider(state: Steering, grid: SteeringGrid) -> int:
    own = grid.texts[grid.unsteered]
    return strengths(
        Choices(
            grid.strengths,
            [_text(grid, text, own) for text in grid.texts],
            [_numbers(grid, row) for row in range(len(grid.texts))],
            _text(grid, own, own),
        ),
        state.suggested,
    )


def _note(state: Steering, grid: SteeringGrid, *, alone: bool) -> str:
    """One line on the texts: where they come from, and why the slider is where it is."""
    said = []
    if state.shipped:
        here = "." if alone else "; Steer computes it here."
        said.append(f"Shipped with eqlin {__version__}, which computed it before{here}")
    if grid.measured is None:
        said.append("The metrics of this grid are being computed.")
    elif grid.repeats_unsteered and grid.plan.form == "reference" and not (grid.plan.second or is_preset(grid.plan)):
        said.append("The unsteered text repeats itself already, so no strength is suggested.")
    elif state.suggested is not None:
        where = "before the text breaks down" if grid.breaks_down is not None else "of the sweep, no text breaks down"
        said.append(f"λ = {state.suggested:g} is suggested, the last {where}: {BROKEN}.")
    return " ".join(said)


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
    parts["Any other strength"] = partial(_between, state, grid)
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
    word = _word(grid)
    facts = [
        (f"log p of “{word.word.strip()}”", word.log_probability, word.control),
        ("KL from unsteered", measured.divergence, None if control is None else control.divergence),
        ("perplexity, unsteered model", measured.perplexity, None if control is None else control.perplexity),
    ]
    cells = []
    for name, values, random in facts:
        beside = "" if random is None else f' <span class="eq-p">random {number_text(random[row])}</span>'
        cells.append(fact(name, number_text(values[row]), beside=beside))
    return strip_of(*cells)


def _word(grid: SteeringGrid) -> NamedWord:
    """The chosen word that names the concept; what the concept goes on with, where a kept grid knows no other."""
    chosen = st.session_state.get(WORD)
    found = [word for word in grid.named if word.word == chosen] or grid.named
    if found:
        return found[0]
    assert grid.measured is not None
    control = None if grid.control is None else grid.control.concept
    return NamedWord("".join(grid.continuation), grid.measured.concept, control)


def _choose_word(words: list[str]) -> None:
    """Which word that names the concept the curves are of."""
    key, chosen = f"{WORD}_choice", st.session_state.get(WORD)
    st.session_state[key] = chosen if chosen in words else words[0]

    def keep() -> None:  # also while another tab is open
        st.session_state[WORD] = st.session_state[key]

    st.segmented_control(
        "Word that names the concept",
        words,
        key=key,
        format_func=lambda word: word.strip(),
        required=True,
        on_change=keep,
    )


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
    if state.live_text is not None:
        st.header(f"Steered, λ = {shown_strength(state.live_strength)}")
        st.html(_text(grid, state.live_text, grid.texts[grid.unsteered]))


def _chart(grid: SteeringGrid, position: float) -> None:
    if grid.measured is None:
        st.caption("It appears here once the metrics are computed.")
        return
    measured, control = grid.measured, grid.control
    st.header("What the strength does")
    if grid.named:
        _choose_word([word.word for word in grid.named])
    word = _word(grid)
    show(
        steering_metrics(
            np.array([s[0] for s in grid.strengths]),
            word.log_probability,
            measured.divergence,
            measured.perplexity,
            control=None
            if control is None or word.control is None
            else (word.control, control.divergence, control.perplexity),
            position=position,
            changes=[(change.strength, change.token) for change in grid.changes],
            word=word.word if grid.named else "",
            breaks_down=grid.breaks_down,
            theme=theme(),
        ),
        "steering-metrics",
        " ".join([_changes(grid), _nameless(grid), _breakdown(grid), f"({grid.dtype})"]),
    )


def _changes(grid: SteeringGrid) -> str:
    """What the dotted lines mark."""
    if grid.plan.temperature > 0:
        return grid.flip.sentence if grid.flip and grid.plan.form == "reference" else ""
    if not grid.changes:
        return "The next token is the same at every strength."
    return "Dotted, with the new token: every change of the next token, at the first of these strengths that shows it."


def _nameless(grid: SteeringGrid) -> str:
    """That the read-out begins with no word, where it does."""
    reads = grid.operators[0].push_reads if grid.operators else []
    if not reads or is_word(reads[0][0]):
        return ""
    instead = "the first curve is of a word of the concept" if grid.named else "Steer computes a word of the concept"
    return f"The push reads as “{visible_token(reads[0][0])}” first, which names nothing; {instead}."


def _breakdown(grid: SteeringGrid) -> str:
    if grid.plan.form != "reference":
        return ""
    if grid.repeats_unsteered:
        return "The unsteered text repeats itself already, so where steering breaks it cannot be told."
    if grid.breaks_down is None:
        return "The text breaks down nowhere."
    return f"The text breaks down at λ = {grid.breaks_down:g}: {BROKEN}."


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
    curves = dict(zip(guide.words, guide.word_log_probability, strict=True))
    chosen = st.session_state.get(WORD)
    word = chosen if chosen in curves else next(iter(curves), guide.said)
    leads = f"At its end the concept leads to “{visible_token(guide.said)}”"
    show(
        depth_guide(curves.get(word, guide.log_probability), guide.reads, word, depth=depth, theme=theme()),
        "depth-guide",
        f"How likely, after each block, is “{visible_token(word)}”, or its first token. {leads}"
        f"{'' if is_word(guide.said) else ', which names nothing'} ({grid.dtype}).",
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
        columns["log p"] = list(_word(grid).log_probability)
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
