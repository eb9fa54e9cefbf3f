"""Page Compare: two runs side by side, and the exact difference of what they explain."""

from functools import partial

import streamlit as st

from eqlin_core.runs.compare import compare_runs
from pages.comparison.sides import cards, explained_in, pinned_or_asked, source
from pages.comparison.view import differences, largest, next_tokens, spectra, way
from pages.contributions.choices import choose_split
from pages.frame.entry import through_app
from pages.visit.session import Pinned, Session, session
from pages.widgets.charts import numbers_of
from pages.widgets.heading import heading
from pages.widgets.nothing_yet import nothing_yet
from pages.widgets.report import report_button
from pages.widgets.tabs import tabs

through_app(__file__)


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    heading(
        "What changed, and by which tokens?",
        "Two prompts, two maps, two precisions or two models: the difference of what A and B explain is exactly the "
        "sum of what each aligned token changed by.",
    )
    state = session()
    if state.tokens is None or state.shown is None:
        nothing_yet("the comparison")
        return
    pinned = pinned_or_asked()
    if pinned is None:
        return
    b = state.split_tokens()
    b = b if b is not None and not isinstance(b, str) and b.complete else state.tokens
    if not (b.complete and pinned.split.complete):
        st.info("The comparison appears as soon as the contributions of both are there.")
        return
    target_a, target_b = explained_in(pinned.split, b, beside=choose_split)
    found = compare_runs(pinned.split, b, kind=state.split.target, target_a=target_a, target_b=target_b)
    cards(found)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(largest(found))
        report_button(
            pinned.split,
            pinned.request,
            "report-of-both",
            compared_with=b,
            kind=state.split.target,
            target=target_a,
            compared_target=target_b,
        )
    with numbers_of(source(found)):
        way(found)
        tabs(
            "compared",
            {
                "What differs": partial(differences, found),
                "Next tokens": partial(next_tokens, found),
                "Spectra and angles": partial(_spectra, pinned, state),
            },
        )


def _spectra(pinned: Pinned, state: Session) -> None:
    """Spectra are those of the sidebar's map, whatever the split is by."""
    assert state.tokens is not None
    spectra(compare_runs(pinned.tokens, state.tokens, spectra_a=pinned.spectra, spectra_b=state.spectra))


page()
