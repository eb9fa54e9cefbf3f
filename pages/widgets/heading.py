"""What stands on top of every page: the one question that it answers, and a sentence on how."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator


def heading(question: str, how: str) -> DeltaGenerator:
    """Draw both, and give the place beside them; the question is the page's only heading of the first level."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title(question, anchor=False, width="content")
        beside = st.container(width="content")
    st.caption(how)
    return beside
