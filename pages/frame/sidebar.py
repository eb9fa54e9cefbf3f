"""The sidebar: model, precision, convention and prompt, bound to the address so that a view is a link."""

from __future__ import annotations

import streamlit as st

from eqlin_core.models.presets import PRESETS
from eqlin_core.runs.convention import Convention
from pages.door.admission import listed_models
from pages.widgets.dials import ASK_AGAIN, attention_dial, gated_dial
from pages.widgets.opening import open_run
from pages.worker.request import DEFAULT_MODEL, EXAMPLES, PRECISIONS, Request


def sidebar() -> Request | None:
    """Draw the form; the request that was just submitted, or on the first run the one in the address, else None."""
    with st.sidebar:
        first = "started" not in st.session_state
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
            submitted = st.form_submit_button("Analyse", type="primary", width="stretch")
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
        **Convention(state["gated_path"], state["attention"]).keywords,
    )


def _take_example() -> None:
    if st.session_state["example"]:
        st.session_state["prompt"] = st.session_state["example"]
        st.session_state[ASK_AGAIN] = True


def _models() -> list[str]:
    return [DEFAULT_MODEL, *PRESETS]
