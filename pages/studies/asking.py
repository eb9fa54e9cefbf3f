"""What is studied: a list or a file, what is measured, what that takes, and the button that begins it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.door.settings import settings
from pages.studies import jobs
from pages.studies.jobs import MEASURES, Asked
from pages.studies.lists import LISTS, Source, keep_upload
from pages.visit.page_jobs import page_jobs, waiting, watch
from pages.visit.polling import poll
from pages.visit.session import session
from pages.widgets.sentences import shortened

if TYPE_CHECKING:
    from eqlin_core.studies.plan import ModelPlan

_OWN = "a file of mine"
GROWS = 4.0  # seconds after which what is new is drawn
FIRST_MEASURES = ("exactness", "contributions", "layers")


def ask_for_study() -> Asked | None:
    """Draw the choices; the study that they make, None while no file is chosen."""
    which, what, how_many = st.columns([2, 4, 1], vertical_alignment="top")
    with which:
        chosen = st.selectbox(
            "Prompts",
            [*LISTS, _OWN],
            key="study_list",
            bind="query-params",
            help="  \n".join(f"**{name}**: {meaning}" for name, meaning in LISTS.items()),
        )
        upload = _upload() if chosen == _OWN else None
    with what:
        measures = st.pills(
            "Measures",
            list(MEASURES),
            selection_mode="multi",
            default=list(FIRST_MEASURES),
            key="study_measures",
            bind="query-params",
            help="  \n".join(f"**{name}**: {meaning}" for name, meaning in MEASURES.items()),
        )
    with how_many:
        most = settings().study_prompts if settings().public else None
        first = st.number_input(
            "First so many",
            1,
            most,
            most,
            key="study_first",
            bind="query-params",
            placeholder="all",
            help=f"This server takes {most} prompts at most." if most else "Empty: all prompts of the list.",
        )
    if not measures:
        st.info("Choose at least one measure.")
        return None
    source = upload if chosen == _OWN else Source(str(chosen))
    if source is None:
        st.info(
            "A text file with a prompt a line, or CSV, JSON lines or Parquet with a column *prompt*, *chat* or "
            "*token_ids*; other columns come along."
        )
        return None
    shown = session().shown
    assert shown is not None
    return Asked(
        Source(source.name, source.digest, first if first is None else int(first)),
        shown.model,
        shown.dtype,
        shown.gated_path,
        shown.attention,
        tuple(name for name in MEASURES if name in measures),
    )


def _upload() -> Source | None:
    given = st.file_uploader(
        "A file of prompts", type=["csv", "jsonl", "parquet", "txt"], key="study_file", label_visibility="collapsed"
    )
    return None if given is None else keep_upload(given.name, given.getvalue())


def follow(asked: Asked) -> None:
    """What the study takes, and the button that begins it or goes on with it; its progress is in the strip."""
    watch()
    last = session().errands.snapshots.get(asked)
    going = last is not None and not last.finished
    with st.container(horizontal=True, vertical_alignment="center"):
        place = st.container(width="content")
        plan: ModelPlan | None = None
        if going:
            st.caption("It goes on while you look at other pages; its progress is above, and what is there below.")
        else:
            plan = page_jobs().want("study-plan", jobs.plan(asked, asked.there))
            if plan is None:
                waiting("study-plan", "what the study takes")
            else:
                st.caption(_words(plan))
        place.button(
            "Go on" if asked.begun else "Start",
            key="study_start",
            type="primary",
            disabled=going or (plan is not None and not plan.prompts and not plan.refused),
            on_click=_start,
            args=(asked,),
        )
    if last is not None and last.state == "failed":
        st.error(shortened(last.error), icon=":material/error:")
    if going:
        there = asked.files
        poll(lambda _: _redraw(asked, there), going_on=lambda: True, seconds=GROWS)


def _redraw(asked: Asked, drawn: int) -> None:
    """Draw the page anew where more is there than what is drawn."""
    if asked.files != drawn:
        st.rerun(scope="app")


def _words(plan: ModelPlan) -> str:
    if not plan.prompts:
        why = f" ({plan.refused[0][1].rstrip('.')})" if plan.refused else ""
        if plan.refused and not plan.there:
            return f"This model can read none of the {len(plan.refused)} prompts{why}."
        refused = f"; {len(plan.refused)} cannot be read by this model{why}" if plan.refused else ""
        return f"All {plan.there} prompts are measured{refused}."
    return plan.sentence()


def _turn(asked: Asked) -> int:
    """How often this tab has begun the study: the answer of an earlier start is not that of this one."""
    return int(st.session_state.get(f"study_turn_{asked.folder.name}", 0))


def _start(asked: Asked) -> None:
    last = session().errands.snapshots.get(asked)
    if last is not None and not last.finished:  # the button was pressed again before the page was drawn
        return
    st.session_state[f"study_turn_{asked.folder.name}"] = _turn(asked) + 1
    session().errands.start(asked, jobs.study(asked, _turn(asked)))
