"""The gate before the first page: a shared password, or the login of Streamlit, where the operator wants one."""

from __future__ import annotations

import hmac
import threading
import time

import streamlit as st

from pages.door.settings import settings

WRONG = "That is not the password."
WRONG_SECONDS = 0.5
_LET_IN = "let_in"
_wrong_ones = threading.Lock()


def closed() -> bool:
    """Whether this visitor has yet to give the password or to log in."""
    if has_login() and not st.user.is_logged_in:
        return True
    return bool(settings().password) and _LET_IN not in st.session_state


def ask_in() -> None:
    """Draw the one question of a closed gate, and end this run of the script; nothing through an open one."""
    if not closed():
        return
    _, middle, _ = st.columns([1, 1.2, 1])
    with middle:
        st.header("This dashboard is closed")
        if has_login() and not st.user.is_logged_in:
            st.caption("Log in to open it. The view that the address names is kept.")
            st.button("Log in", type="primary", on_click=st.login)
        else:
            _ask_for_password()
    st.stop()


def _ask_for_password() -> None:
    with st.form("gate", border=False):
        given = st.text_input("Password", type="password", help="Whoever runs this server has it.")
        asked = st.form_submit_button("Open", type="primary")
    if asked and is_password(given or ""):
        st.session_state[_LET_IN] = True
        st.rerun()
    if asked:
        st.error(WRONG, icon=":material/error:")


def is_password(given: str) -> bool:
    """Whether this is the password. Wrong ones are answered one after the other, however many visitors guess."""
    if hmac.compare_digest(given.encode("utf-8", "replace"), settings().password.encode("utf-8", "replace")):
        return True
    with _wrong_ones:
        time.sleep(WRONG_SECONDS)
    return False


def has_login() -> bool:
    """Whether the secrets of Streamlit name somebody who knows the visitors."""
    return st.secrets.load_if_toml_exists() and "auth" in st.secrets
