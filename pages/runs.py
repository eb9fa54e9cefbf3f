"""Page Runs: every analysis that was finished, to be opened again without computing it."""

import streamlit as st

from pages.frame.entry import through_app
from pages.kept.view import runs
from pages.visit.shelf import InMemory, keeping
from pages.widgets.heading import heading
from pages.widgets.sentences import shortened

through_app(__file__)


def page() -> None:
    """Draw the page, or that this server keeps nothing."""
    place = keeping().place
    kept = "for this tab, until it is closed" if isinstance(place, InMemory) else "on this machine"
    heading("What was found before?", f"Every finished analysis is kept {kept}: opening one computes nothing.")
    if place is None:
        st.info("This server keeps no runs.")
        return
    if error := st.session_state.pop("run_error", ""):
        st.error(shortened(error), icon=":material/error:")
    runs(place)


page()
