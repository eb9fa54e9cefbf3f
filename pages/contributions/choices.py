"""How page Tokens takes the prediction apart: target, baseline, and the two dials of the map; in view, and in words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.figures import visible_token
from eqlin_core.runs.convention import Convention, share_text
from eqlin_core.runs.split import TARGET_KINDS, Split, baseline_words
from eqlin_core.runs.treatments import attends
from pages.visit.session import session
from pages.widgets.dials import attention_dial, gated_dial, take_map
from pages.widgets.token_choice import typed_token
from pages.worker.request import DEFAULT_SPLIT

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import TokenRun
    from pages.widgets.explained import Explained

_ANSWER_TARGET = "answer_target"
_TARGET, _BASELINE, _GATED, _ATTENTION, _APART = "target", "baseline", "split_gated", "split_attention", "apart"
# Where the dials stand unless somebody turned them: the address leaves these stops out.
_FIRST = {
    _GATED: share_text(DEFAULT_SPLIT.convention.gated_path),
    _ATTENTION: share_text(DEFAULT_SPLIT.convention.attention),
}
# Baselines with a name, as the list shows them; anything else is a token.
_NAMED = {"zero": "zero", "mean embedding": "mean"}


@dataclass(frozen=True)
class Choices:
    """What to split against what by which map, and whether the first position stands apart in the charts."""

    split: Split
    apart: bool


def choose_split(*, of_answer: bool = False) -> Choices:
    """Draw the choices, bound to the address, and note them in the session, which computes the split.

    Of a whole answer the target is a choice of its own, first the log-probability: logits of several tokens do not add.
    """
    _seed(session().split)
    kinds, kind_key = (TARGET_KINDS[::-1], _ANSWER_TARGET) if of_answer else (TARGET_KINDS, _TARGET)
    run = session().tokens
    rows = run.treatments if run is not None else []
    with st.popover("Target, baseline, map", key="choices", width="stretch"):
        target = st.segmented_control(
            "Target",
            kinds,
            default=kinds[0] if of_answer else None,
            required=True,
            key=kind_key,
            bind="query-params",
            help="The logit w · y of a next token; or its log-probability, along w − Σ pᵥ Wᵥ: its terms sum to the "
            "logit less the mean of all logits, which leaves out what raises every token alike.",
        )
        baseline = st.selectbox(
            "Baseline",
            list(_NAMED),
            key=_BASELINE,
            bind="query-params",
            accept_new_options=True,
            help="What a token is compared with: its term is w · Jᵢ(xᵢ − m). Choose m = zero, the mean of all input "
            "embeddings, or type a token. What m itself gives in every place joins the bias.",
        )
        gated = gated_dial(_GATED, _FIRST[_GATED])
        attention = attention_dial(_ATTENTION, _FIRST[_ATTENTION], attends=not rows or attends(rows))
        apart = st.toggle(
            "First position apart",
            key=_APART,
            bind="query-params",
            help="The term of the first position often dwarfs all others (an attention sink): draw it and the bias "
            "beside the other tokens, which then have a scale of their own.",
        )
    text = baseline or "zero"
    named = _NAMED.get(text, typed_token(text))
    chosen = Split(target or kinds[0], named, Convention(gated, attention))
    session().split = replace(chosen, target=session().split.target) if of_answer else chosen
    return Choices(chosen, bool(apart))


def in_words(run: TokenRun, explained: Explained, begun: bool) -> None:
    """What is shown, in one line; and the button by which all pages show the same map."""
    split = Split(explained.kind, run.baseline, run.key.convention)
    dials = split.convention
    if run.treatments and not attends(run.treatments):
        dials = Convention(dials.gated_path)
    said = [
        f"**{explained.text}**",
        f"baseline {baseline_words(visible_token(run.baseline) if isinstance(run.baseline, str) else run.baseline)}",
        f"map {dials.words}" + (" (as published)" if dials.published else ""),
    ]
    if begun:
        said.append("begin-of-text added")
    shown = session().shown
    with st.container(horizontal=True, vertical_alignment="center", key="in-words"):
        st.markdown(", ".join(said))
        if shown is not None and shown.convention != split.convention:
            st.button(
                "Show this map on all pages",
                key="take-map",
                type="tertiary",
                icon=":material/sync_alt:",
                on_click=take_map,
                args=(split.convention,),
                help=f"Spectra, Matrix, Layers and Steering show the map {shown.convention.words}.",
            )


def _seed(split: Split) -> None:
    """Where the widgets stand that are drawn for the first time: as the address says, else as this tab had them."""
    known = {name: label for label, name in _NAMED.items()}
    for key, value, allowed in (
        (_TARGET, split.target, TARGET_KINDS),
        (_BASELINE, known.get(str(split.baseline), visible_token(str(split.baseline))), None),
        (_GATED, share_text(split.convention.gated_path), None),
        (_ATTENTION, share_text(split.convention.attention), None),
    ):
        turned = key not in _FIRST or (key not in st.query_params and value != _FIRST[key])
        if key not in st.session_state and turned:
            wanted = st.query_params.get(key, value)
            st.session_state[key] = wanted if allowed is None or wanted in allowed else value
