"""Page Spectra: what each token's matrix does."""

from collections.abc import Callable
from functools import partial

from eqlin_core.runs.prompt import EarlySpectra, SpectrumRun, TokenRun
from pages.frame.entry import through_app
from pages.triplets.early import no_spectra_yet, still_to_come
from pages.triplets.joint import joint_triplets
from pages.triplets.rank_dial import rank_dial
from pages.triplets.table import triplet_effects, triplet_table
from pages.triplets.values import singular_values
from pages.visit.page_jobs import watch
from pages.visit.session import session
from pages.widgets.code import of_explained, page_code_button
from pages.widgets.explained import Explained, choose
from pages.widgets.heading import heading
from pages.widgets.tabs import tabs
from pages.widgets.text import text_line
from pages.widgets.token_choice import choose_token
from pages.worker.analysis import KEPT_TRIPLETS

through_app(__file__)


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    state = session()
    state.want_spectra()
    run, spectra = state.tokens, state.spectra or state.early
    if run is None or spectra is None:
        no_spectra_yet()
        return

    assert state.shown is not None
    beside = heading(
        "How simple is it?",
        "Each token's matrix is a sum of triplets: σ says how strong one is, its right vector v what it looks for, "
        "its left vector u what it writes towards the next token.",
    )
    text_line()
    watch()
    early = isinstance(spectra, EarlySpectra)
    if not early:
        rank_dial(state.shown, run)
    tokens: list[int] = []
    explained = choose(run, beside=lambda: tokens.append(choose_token(run.tokens)))
    (token,) = tokens
    of_one = run, spectra, token, explained
    parts = {
        "Singular values": partial(singular_values, run, spectra, token),
        "One token's triplets": partial(_once_there, triplet_table, *of_one),
        "What each triplet does": partial(_once_there, triplet_effects, *of_one),
    }
    if not early:
        parts["All tokens together"] = partial(joint_triplets, state.shown, run)
    tabs("triplets_of", parts)
    page_code_button(beside, "spectra", state.shown, token=token, k=KEPT_TRIPLETS, **of_explained(explained))


def _once_there(
    draw: Callable[[TokenRun, SpectrumRun, int, Explained], None],
    run: TokenRun,
    spectra: SpectrumRun | EarlySpectra,
    token: int,
    explained: Explained,
) -> None:
    """Draw what needs the triplets of ``token``, or say that they are still to come."""
    if not isinstance(spectra, EarlySpectra) or not still_to_come(spectra, token):
        draw(run, spectra, token, explained)


page()
