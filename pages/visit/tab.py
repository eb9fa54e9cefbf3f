"""What one browser tab keeps from run to run of the script."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import streamlit as st

Kept = TypeVar("Kept")


def of_this_tab(key: str, make: Callable[[], Kept]) -> Kept:
    """What this tab keeps under ``key``; made when it is asked for first."""
    if key not in st.session_state:
        st.session_state[key] = make()
    return cast(Kept, st.session_state[key])
