"""The sidebar: model, precision, convention and prompt, bound to the address so that a view is a link."""

from __future__ import annotations

import streamlit as st

from eqlin_core.models.presets import PRESETS
from eqlin_core.runs.convention import Convention
from pages.door.admission import listed_models
from pages.visit.session import session
from pages.widgets.dials import ASK_AGAIN, attention_dial, gated_dial
from pages.widgets.opening import open_run
from pages.widgets.text import GENERATED, TO_ANSWER
from pages.worker.request import DEFAULT_MODEL, EXAMPLES, PRECISIONS, Request


def sidebar() -> Request | None:
    """Draw the form; the request that was just submitted, or on the first run the one in the address, else None."""
    with st.sidebar:
        first = "started" not in st.session_state
        if TO_ANSWER in st.session_state:
            st.session_state["answer"] = st.session_state[GENERATED] = st.session_state.pop(TO_ANSWER)
            st.session_state["position"], st.session_state[ASK_AGAIN] = None, True
        if first and (run := st.query_params.get("run")):
            open_run(run)
        st.session_state.setdefault("prompt", st.query_params.get("prompt", EXAMPLES[0]))
        st.selectbox(
            "Example prompts",
            EXAMPLES,
            index=None,
            key="example",
            placeholder="Choose an example",
            format_func=lambda text: text.replace("\n", " ⏎ "),
            on_change=_take_example,
        )
        with st.form("request", border=False):
            st.text_area("Prompt", key="prompt", bind="query-params", height=110, placeholder="Type a prompt")
            st.toggle(
                "Chat",
                key="as_chat",
                bind="query-params",
                help="Puts the prompt into the model's own chat template, as what the user says. A line that begins "
                "with `system:`, `user:` or `assistant:` opens another message; what the assistant says last is the "
                "beginning of its answer.",
            )
            with st.expander("Answer", expanded=bool(st.session_state.get("answer") or st.query_params.get("answer"))):
                st.text_area(
                    "What follows the prompt",
                    key="answer",
                    bind="query-params",
                    height=80,
                    placeholder="Type an answer, or let page Answer generate it",
                    help="Every token of it is explained on page Answer. It begins with a space where a word follows.",
                )
                st.number_input(
                    "Explained position",
                    value=None,
                    min_value=0,
                    step=1,
                    key="position",
                    bind="query-params",
                    placeholder="the prompt's last",
                    help="All pages explain the token that follows this position of prompt and answer. A click on a "
                    "token of the text sets it.",
                )
            st.selectbox(
                "Model",
                listed_models() or _models(),
                key="model",
                bind="query-params",
                accept_new_options=True,
                help="A name from the list."
                if listed_models()
                else "A name from the list, a Hugging Face model id, a local folder, or a .gguf file.",
            )
            st.selectbox(
                "Precision",
                PRECISIONS,
                key="dtype",
                bind="query-params",
                help="float64 is exact to about 1e-15 and takes twice the time of float32. Apple's GPUs leave it to "
                "the CPU.",
            )
            with st.expander("Advanced"):
                gated_dial("gated_path")
                attention_dial("attention")
                st.checkbox(
                    "Begin-of-text token before the prompt",
                    key="begin",
                    bind="query-params",
                    help="The first position draws attention whatever stands there. With the model's begin-of-text "
                    "token there, no word of the prompt is this sink. It changes the prompt, and so the prediction.",
                )
            submitted = st.form_submit_button("Analyse", type="primary", width="stretch", on_click=_of_another_text)
        if st.session_state["prompt"] and st.session_state["prompt"][-1] == " ":
            st.caption("The prompt ends in a space. Most words' tokens begin with their own: without it, they follow.")
    st.session_state["started"] = True
    if first or submitted or st.session_state.pop(ASK_AGAIN, False):
        return _request()
    return None


def _request() -> Request:
    state = st.session_state
    return Request(
        prompt=state["prompt"] or "",
        model=(state["model"] or DEFAULT_MODEL).strip(),
        dtype=state["dtype"] or PRECISIONS[0],
        begin=bool(state["begin"]),
        chat=bool(state["as_chat"]),
        answer=state["answer"] or "",
        position=state["position"],
        **Convention(state["gated_path"], state["attention"]).keywords,
    )


def _take_example() -> None:
    state = st.session_state
    if state["example"]:
        state["prompt"], state["as_chat"], state["answer"], state["position"] = state["example"], False, "", None
        state[ASK_AGAIN] = True


def _of_another_text() -> None:
    """A new prompt has none of the old one's positions, nor the answer that the model gave to it."""
    state, before = st.session_state, session().whole
    if before is None or (state["prompt"], bool(state["as_chat"])) == (before.prompt, before.chat):
        return
    if state["answer"] and state["answer"] == state.get(GENERATED):
        state["answer"] = ""
    if state["position"] == before.position:
        state["position"] = None


def _models() -> list[str]:
    return [DEFAULT_MODEL, *PRESETS]
