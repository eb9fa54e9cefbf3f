"""Page Answer: a whole answer, every token of it an exact sum over the text before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.answers.asking import choose_asking, follow_asking, generate_button, go_on_button, how_it_ended
from pages.answers.jobs import answer
from pages.answers.view import choose_fold, deleted, folded, heat_map, numbers, one_row, text, without
from pages.contributions.choices import Choices, choose_split
from pages.frame.entry import through_app
from pages.visit.page_jobs import page_jobs, waiting, watch
from pages.visit.session import session
from pages.widgets.charts import numbers_of
from pages.widgets.code import page_code_button
from pages.widgets.heading import heading
from pages.widgets.nothing_yet import nothing_yet

if TYPE_CHECKING:
    from eqlin_core.runs.answer import AnswerRun
    from pages.worker.request import Request

through_app(__file__)


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    state = session()
    if state.tokens is None or state.shown is None:
        nothing_yet("the answer")
        return

    request = (state.shown_whole or state.shown).whole
    beside = heading(
        "And the whole answer?",
        "Every token of an answer is a prediction, and so an exact sum over the prompt and the answer before it. "
        "Summed over words or messages the parts stay exact; what the model does without them is measured beside it.",
    )
    watch()
    follow_asking(request)
    read = state.text()
    if isinstance(read, str):
        st.caption(read)
        return
    if not read.answer_tokens:
        st.info("There is no answer yet: let the model give one, or type one into the sidebar, below the prompt.")
        with st.container(horizontal=True):
            generate_button(request)
            choose_asking(request, "How it answers")
        return
    asking, fold_by, dials = st.columns([1, 3, 2], vertical_alignment="bottom")
    with asking:
        choose_asking(request)
    with dials:
        choices = choose_split(of_answer=True)
    run = page_jobs().want("answer", answer(request, choices.split))
    with fold_by:
        by = choose_fold(run) if run is not None else ""
    if run is None:
        waiting("answer", "the whole answer")
        plan = page_jobs().jobs.snapshots["answer"].partial.get("plan")
        st.caption(plan or " ")
        return
    with numbers_of(run.key):
        parts(request, run, by, choices)
    page_code_button(beside, "answer", request.by(choices.split.convention), kind=run.kind, baseline=run.baseline)


def parts(request: Request, run: AnswerRun, by: str, choices: Choices) -> None:
    """What the page is made of, below its choices."""
    of = folded(run, by, session().explained(run.text) - 1)
    numbers(run, how_it_ended(request))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        whole = st.segmented_control(
            "Colours and bars are of",
            ["the whole answer", "the chosen part"],
            default="the whole answer",
            required=True,
            key="answer_of",
            bind="query-params",
        )
        if request.chat and request.answer:
            go_on_button(request)
    row = None if whole == "the whole answer" else of.row
    if request.chat and st.session_state.get("prompt") != request.prompt:
        st.info("The sidebar holds a new message of the chat: write it below the others, then Analyse.")
    text(of, row)
    heat_map(of)
    left, right = st.columns(2, gap="medium")
    with left:
        one_row(of, choices.apart)
    with right:
        without(of, deleted(request, of), row)


page()
