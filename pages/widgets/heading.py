"""What stands on top of every page: the one question that it answers, and a sentence on how."""

from __future__ import annotations

import streamlit as st


def heading(question: str, how: str) -> None:
    """Draw both; the question is the page's only heading of the first level."""
    st.title(question, anchor=False)
    st.caption(how)
