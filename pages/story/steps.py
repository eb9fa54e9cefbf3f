"""The four steps of the story: which one is told, the way from one to the next, and the pages that they lead to."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from pages.widgets.present import presents

_CHART, _PRESENTED = 340, 250  # pixels: a step is one screen


@dataclass(frozen=True)
class Step:
    """One screen: its name in the row of steps, its sentence, and the page that opens it up."""

    name: str
    sentence: str
    page: str
    page_says: str


STEPS = (
    Step(
        "One matrix per word",
        "Freeze the model at this prompt and it becomes one matrix per word",
        "pages/matrix.py",
        "Look into a word's matrix",
    ),
    Step(
        "Why freeze it",
        "Without freezing, the matrices miss the output",
        "pages/matrix.py",
        "Switch every freezing rule",
    ),
    Step("Who adds what", "Every word adds a term to the prediction", "pages/tokens.py", "Take the prediction apart"),
    Step(
        "What it can do", "The matrices of some words steer another text", "pages/steering.py", "Type your own concept"
    ),
)
NAMES = [f"{number} {step.name}" for number, step in enumerate(STEPS, 1)]
_STEP = "step"


def chart_height() -> int:
    """How high a step's chart is, in pixels, before what presenting adds."""
    return _PRESENTED if presents() else _CHART


def told() -> int:
    """Draw the row of steps; the one that is told, from 0."""
    chosen = st.segmented_control(
        "The story in four steps",
        NAMES,
        default=NAMES[0],
        required=True,
        key=_STEP,
        bind="query-params",
        label_visibility="collapsed",
    )
    return NAMES.index(chosen or NAMES[0])


def way_on(step: int) -> None:
    """Back, the page that opens this step up, and the next step."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="way-on"):
        st.button("Back", key="step-back", disabled=step == 0, on_click=_go, args=(step - 1,), icon=":material/west:")
        st.page_link(STEPS[step].page, label=STEPS[step].page_says, icon=":material/open_in_full:")
        last = step == len(STEPS) - 1
        if last:
            st.page_link("pages/tokens.py", label="Analyse a prompt of your own", icon=":material/east:")
        else:
            st.button("Next", key="step-next", type="primary", on_click=_go, args=(step + 1,), icon=":material/east:")


def _go(step: int) -> None:
    st.session_state[_STEP] = NAMES[step]
