"""Page Spectra: what each token's matrix does."""

from eqlin_core.runs.prompt import EarlySpectra
from pages.frame.entry import through_app
from pages.triplets.early import no_spectra_yet, still_to_come
from pages.triplets.joint import joint_triplets
from pages.triplets.rank_dial import rank_dial
from pages.triplets.table import triplet_table
from pages.triplets.values import choices, singular_values
from pages.visit.page_jobs import watch
from pages.visit.session import session
from pages.widgets.explained import choose

through_app(__file__)


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    state = session()
    run, spectra = state.tokens, state.spectra or state.early
    if run is None or spectra is None:
        no_spectra_yet()
        return

    explained = choose(run)
    chosen = choices(run)
    singular_values(run, spectra, chosen)
    if isinstance(spectra, EarlySpectra):
        if not still_to_come(spectra, chosen.token):
            triplet_table(run, spectra, chosen.token, explained)
        return
    triplet_table(run, spectra, chosen.token, explained)
    assert state.shown is not None
    watch()
    rank_dial(state.shown, run)
    joint_triplets(state.shown, run)


page()
