"""What stands on a page that has nothing to draw yet."""

from __future__ import annotations

import streamlit as st

from pages.visit.session import session


def nothing_yet(what: str, when: str = "The first analysis is on its way: the model is loaded once, then") -> None:
    """Say that ``what`` appears here, and ``when``; nothing beside an error, which has been said above."""
    if not session().error:
        st.info(f"{when} {what} appear here.")
