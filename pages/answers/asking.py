"""How page Answer comes by an answer: the model gives one, token by token, or it is typed into the sidebar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.runs.chat import read_chat, write_chat
from eqlin_core.runs.text import ASSISTANT
from pages.answers.jobs import Asking, generated
from pages.visit.page_jobs import page_jobs, waiting
from pages.visit.session import session
from pages.widgets.opening import ask_for
from pages.widgets.text import TO_ANSWER

if TYPE_CHECKING:
    from pages.worker.request import Request

MOST = 200
_ASKED, _SAID, _FAILED = "answer_asked", "answer_said", "answer_failed"


@dataclass(frozen=True)
class _Asked:
    """What was on the page when an answer was asked for, what of it the model goes on from, and how."""

    text: Request
    begun: Request
    asking: Asking


def choose_asking(request: Request, name: str = "Generate") -> None:
    """The popover by which the model answers, and goes on with an answer that is there."""
    with st.popover(name, key="asking", icon=":material/edit_note:"), st.form("ask", border=False):
        st.number_input("Tokens at most", 1, MOST, 24, key="ask_most")
        st.slider(
            "Temperature",
            0.0,
            2.0,
            0.0,
            0.1,
            key="ask_temperature",
            help="At 0 the likeliest token every time; above it tokens are drawn.",
        )
        st.slider("Top p", 0.1, 1.0, 1.0, 0.05, key="ask_top_p", help="Drawn from the likeliest tokens alone.")
        st.number_input("Seed", 0, 10**6, 0, key="ask_seed", help="The same seed draws the same text.")
        st.text_input("Stop before", key="ask_stop", help="A text at which the answer ends, ⏎ for a line break.")
        go_on = bool(request.answer)
        st.form_submit_button("Generate", key="ask", on_click=_ask, args=(request, False), type="primary")
        if go_on:
            st.form_submit_button("Go on with this answer", key="ask_on", on_click=_ask, args=(request, True))


def generate_button(request: Request) -> None:
    """One press for the likeliest answer, where there is none."""
    st.button("Let the model answer", key="ask_first", type="primary", on_click=_ask, args=(request, False))


def follow_asking(request: Request) -> None:
    """Draw how an answer that was asked for is getting on; when it is there the sidebar's form takes it.

    It is of the text that it was asked for: once anything else is asked or shown it is given up.
    """
    _why_none(request)
    asked = st.session_state.get(_ASKED)
    if asked is None:
        return
    if not _still(asked.text, request):
        _forget()
        return
    found = page_jobs().want("generated", generated(asked.begun, asked.asking))
    words = "" if found is None else found.words
    if found is None:
        snapshot = page_jobs().jobs.snapshots.get("generated")
        if snapshot is None:  # another run of the script has asked for something else meanwhile
            return
        if snapshot.state == "failed":
            _forget()
            st.session_state[_FAILED] = (asked.text, snapshot.error)
            _why_none(request)
            return
        found = snapshot.partial.get("so_far") if snapshot.state == "cancelled" else None
        words = "Cancelled: this is what the model had answered by then."
        if snapshot.state == "cancelled" and (found is None or not found.token_ids):
            _forget()
            return
    if found is None:
        waiting("generated", "the answer")
        return
    del st.session_state[_ASKED]
    if not found.token_ids:
        words = "The model answers nothing: it ends the text at once. Draw tokens, or type an answer."
    answer = asked.begun.answer + found.text
    st.session_state[_SAID] = (replace(asked.text, answer=answer), words)
    st.session_state[TO_ANSWER] = answer
    st.rerun()


def _why_none(request: Request) -> None:
    """Why the model gave no answer, until anything else is asked."""
    text, error = st.session_state.get(_FAILED, (None, ""))
    if text is None:
        return
    if _still(text, request):
        st.error(error, icon=":material/error:")
    else:
        del st.session_state[_FAILED]


def _still(text: Request, request: Request) -> bool:
    """Whether this text, with the answer that it had, is what is on the page and was asked for last."""
    asked = session().whole
    return text == request and (asked is None or asked.whole == text)


def _forget() -> None:
    del st.session_state[_ASKED]
    page_jobs().jobs.leave("generated")


def how_it_ended(request: Request) -> str:
    """A sentence on how the answer that is shown ended, if the model gave it; else empty."""
    text, words = st.session_state.get(_SAID, (None, ""))
    return words if text == request else ""


def go_on_button(request: Request) -> None:
    """In a chat: what was answered joins the chat, and the user writes on."""
    st.button(
        "Reply in the chat",
        key="reply",
        type="tertiary",
        icon=":material/forum:",
        on_click=_reply,
        args=(request,),
        help="The answer becomes a message of the chat, and a line for what you say next is opened in the sidebar.",
    )


def _ask(request: Request, on: bool) -> None:
    state, first = st.session_state, Asking()
    asking = Asking(
        int(state.get("ask_most") or first.most),
        float(state.get("ask_temperature", first.temperature)),
        float(state.get("ask_top_p", first.top_p)),
        int(state.get("ask_seed") or first.seed),
        (state.get("ask_stop") or first.stop).replace("⏎", "\n"),
    )
    if not _still(request, request):
        ask_for(session().shown_whole or request)  # the form holds something else, which would get this answer
    state[_ASKED] = _Asked(request, request if on else replace(request, answer=""), asking)
    state.pop(_FAILED, None)
    page_jobs().jobs.leave("generated")


def _reply(request: Request) -> None:
    chat = read_chat(request.prompt)
    begun = chat.pop()["content"] if chat[-1]["role"] == ASSISTANT else ""
    chat += [{"role": ASSISTANT, "content": begun + request.answer}, {"role": "user", "content": ""}]
    state = st.session_state
    state["prompt"], state["answer"], state["position"] = write_chat(chat), "", None
