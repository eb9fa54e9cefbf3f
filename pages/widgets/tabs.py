"""Tabs whose choice is in the address, of which only the open one is computed and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import streamlit as st

Drawn = TypeVar("Drawn")


def tabs(key: str, parts: Mapping[str, Callable[[], Drawn]]) -> Drawn | None:
    """One tab for every part, the first one open unless the address says otherwise; ``key`` is its name there.

    What the part that is drawn gives.
    """
    for tab, draw in zip(st.tabs(list(parts), key=key, bind="query-params"), parts.values(), strict=True):
        if tab.open:
            with tab:
                return draw()
    return None
