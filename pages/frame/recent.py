"""The last runs in the sidebar, one click each."""

from __future__ import annotations

import streamlit as st

from pages.visit.shelf import keeping
from pages.widgets.facts import plain
from pages.widgets.opening import GONE, open_run, title

SHOWN = 4


def recent() -> None:
    """Draw them below the form; nothing where none is kept."""
    place = keeping().place
    entries = [] if place is None else place.entries()[:SHOWN]
    with st.sidebar, st.container(key="recent", gap="xsmall"):
        if st.session_state.pop(GONE, False):
            st.caption("That run is not there any more.")
        if entries:
            st.caption("Recent runs")
        for entry in entries:
            st.button(
                plain(title(entry.run, 34)),
                key=f"recent-{entry.id}",
                on_click=open_run,
                args=(entry.id,),
                type="tertiary",
                help=f"{plain(entry.run.model)}, {entry.run.dtype}, map {entry.run.convention.words}: opens at once.",
            )
