"""The choice of an input token, by its position and its text; a token chosen on one page is chosen on the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import streamlit as st

from eqlin_core.figures import visible_token


def choose_token(tokens: Sequence[str], *, width: int | Literal["stretch"] = "stretch") -> int:
    """Draw the choice and give the position; the last token, while none of these is chosen."""
    names = [token_name(tokens, i) for i in range(len(tokens))]
    if st.session_state.get("token") not in names:
        st.session_state.pop("token", None)
    chosen = st.selectbox("Token", names, index=len(names) - 1, key="token", bind="query-params", width=width)
    return names.index(chosen)


def typed_token(text: str) -> str:
    """The token that was typed as pages show one: · for a space, ⏎ for a line break."""
    return text.replace("·", " ").replace("⏎", "\n")


def token_name(tokens: Sequence[str], position: int) -> str:
    """The name of an input token, which differs from those of its equals elsewhere in the prompt: 4 ·Marin."""
    return f"{position} {visible_token(tokens[position])}"
