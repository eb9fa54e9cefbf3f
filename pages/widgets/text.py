"""The text of prompt and answer, of which a click on a token leads every page to where that token was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from eqlin_core.figures import diverging_colour, visible_token
from eqlin_core.figures.labels import printed
from eqlin_core.figures.palette import MONO
from eqlin_core.runs.text import ANSWER, TEMPLATE, RunText
from pages.visit.session import session
from pages.widgets.dials import ASK_AGAIN
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.runs.groups import Group
    from eqlin_core.runs.values import Array

# Set by page Answer: the answer that the sidebar's form takes in the next run, and the one that the model gave last.
TO_ANSWER, GENERATED = "to_answer", "generated_answer"
WIDTH = 40  # characters of one token before the ellipsis
_STYLE = f"""
.eq-text {{ font-family: {MONO}; font-size: 0.9rem; line-height: 2.05; overflow-wrap: anywhere; max-height: 15rem;
            overflow-y: auto; padding: 2px; }}
.eq-token {{ display: inline-block; font: inherit; line-height: 1.45; margin: 0 2px; padding: 0 6px; border-radius: 4px;
             border: 1px solid var(--st-border-color); background: none; color: inherit; white-space: pre-wrap; }}
button.eq-token {{ cursor: pointer; }}
.eq-joined {{ margin-left: -2px; border-left-style: dashed; border-top-left-radius: 0; border-bottom-left-radius: 0; }}
.eq-muted {{ opacity: 0.75; font-size: 0.8rem; padding: 0 3px; margin: 0 1px; }}
.eq-later {{ border-style: dotted; }}
.eq-token:hover, .eq-lit {{ border-color: var(--st-primary-color); }}
.eq-token:focus-visible {{ outline: 2px solid var(--st-primary-color); outline-offset: 2px; }}
.eq-token[aria-current] {{ outline: 2px solid var(--st-primary-color); outline-offset: 1px; font-weight: 600; }}
.eq-role {{ font-family: var(--st-font); font-size: 0.75rem; opacity: 0.7; margin: 0 0.35rem 0 0.6rem; }}
"""
_component = st.components.v2.component(
    "eqlin_text",
    html="<div class='eq-text' role='group'></div>",
    css=_STYLE,
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
)


def text_line(key: str = "text") -> None:
    """The text of what is shown, where it is more than a prompt that is explained at its end; else nothing."""
    if session().plain:
        return
    found = session().text()
    if isinstance(found, str):
        st.caption(found)
    else:
        clickable_text(found, key)


def clickable_text(
    text: RunText,
    key: str,
    values: Array | None = None,
    of: str = "",
    groups: Sequence[Group] = (),
) -> None:
    """The tokens of prompt and answer; a click explains the token that was clicked, on every page.

    ``values`` of the first tokens, or of each, colour them on a scale that ends at the largest size; ``of`` says what
    they are parts of. ``groups`` mark tokens that belong together.
    """
    at = session().explained(text)
    group_of = {i: n for n, group in enumerate(groups) for i in group.members}
    known = np.zeros(0) if values is None else values
    reach = float(np.abs(known[np.isfinite(known)]).max(initial=0.0))
    tokens: list[dict[str, Any]] = []
    for i, token in enumerate(text.tokens):
        value = float(known[i]) if i < len(known) else None
        begins = i == 0 or (text.messages[i], text.roles[i]) != (text.messages[i - 1], text.roles[i - 1])
        joined = i > 0 and groups and group_of.get(i) == group_of.get(i - 1) and text.roles[i] != TEMPLATE
        part = "" if value is None else f": {printed(value, signed=True)}{of}"
        tokens.append(
            {
                "text": visible_token(token, WIDTH),
                "title": f"{visible_token(token)}  position {i}{part}" + ("\nClick to explain it" if i else ""),
                "colours": None if value is None else diverging_colour(value, reach, theme()),
                "before": text.roles[i] if begins and text.roles[i] not in ("prompt", TEMPLATE) else "",
                "muted": text.roles[i] == TEMPLATE,
                "later": i > at,
                "joined": bool(joined),
                "explained": i == at,
                "at": i or None,
                "group": group_of.get(i, -1 - i),
                "breaks": token.endswith("\n"),
            }
        )
    n = len(text.tokens)
    tokens.append(
        {
            "text": "next",
            "title": "What follows the text: click to explain the next token",
            "before": "",
            "muted": True,
            "explained": at == n,
            "at": n,
            "group": -1 - n,
        }
    )
    with st.container(key=f"box-{key}"):
        _component(
            data={"tokens": tokens, "label": "The text: a click on a token explains it"},
            key=key,
            on_went_change=partial(_went, key, _default(text)),
            height="content",
        )


def explain_position(position: int | None) -> None:
    """Let every page explain the token after this position; called before the page is drawn, as by a button."""
    st.session_state["position"] = position
    st.session_state[ASK_AGAIN] = True


def _default(text: RunText) -> int:
    """The token that is explained unless a position is said: the first of the answer; -1 where that may be another."""
    return text.first if ANSWER in text.roles or text.first == len(text.tokens) else -1


def _went(key: str, default: int) -> None:
    token = st.session_state[key].get("went")
    if token is not None:
        explain_position(None if int(token) == default else int(token) - 1)
