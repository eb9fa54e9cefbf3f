"""How a visitor comes in: a page that was opened by its address before the app has run once, and the first question."""

from __future__ import annotations

import streamlit as st

from pages.door.admission import refusal
from pages.visit.session import session
from pages.worker.request import Request

_FLAG = "in_app"


def enter_app() -> None:
    """Note that this session runs through app.py; app.py calls it before it runs a page."""
    st.session_state[_FLAG] = True


def ask(request: Request) -> None:
    """Start what was asked for, or say why this server does not compute it; what is on the screen stays."""
    if refused := refusal(request):
        session().error = refused
    else:
        session().ask(request)


def through_app(file: str) -> None:
    """First line of every page: hand a first visitor's deep link over to app.py, at the same address.

    Until a process has run ``st.navigation``, Streamlit runs a file of pages/ by itself when its address is opened.
    """
    if _FLAG not in st.session_state:
        home = st.Page(lambda: None, title="home", url_path="home", default=True)
        st.navigation([home, st.Page(file)], position="hidden")
        st.rerun()
