"""Page Layers: how the prediction forms, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from eqlin_core.runs.treatments import mixer
from pages.frame.entry import through_app
from pages.sweep.charts import first_read, path, spectra
from pages.sweep.heads import heads
from pages.sweep.lenses import lenses
from pages.sweep.state import layers
from pages.sweep.table import Chosen, choices, keep_choices, read_out
from pages.sweep.watch import affordable, watch
from pages.visit import page_jobs
from pages.visit.session import session
from pages.widgets.code import of_explained, page_code_button
from pages.widgets.explained import Explained, as_kind, choose
from pages.widgets.heading import heading
from pages.widgets.nothing_yet import nothing_yet
from pages.widgets.tabs import tabs
from pages.widgets.text import text_line

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import TokenRun

through_app(__file__)
_HEADS = "Each head and each MLP writes a part of the logit: the first picture. "


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    current = session()
    run = current.tokens
    if run is None or current.shown is None:
        nothing_yet("the layers")
        return

    beside = heading(
        "Where does it arise?",
        f"{_HEADS if mixer(run.treatments) == 'attention' else ''}The map can end at any layer: the tabs show what "
        "each input token's map writes there, read through the final norm.",
    )
    text_line()
    state = layers()
    if state.follow(current.shown, current.shipped) and affordable(run):
        state.open()
    state.advance()
    watch(state)
    explained = as_kind(choose(run), current.split.target, run)
    heads(state, run, explained)
    with st.container():
        parts: dict[str, Callable[[], dict[str, Any] | None]] = {
            name: partial(_maps, draw, run) for name, draw in _DRAWN.items()
        }
        choice = tabs("layer_tab", parts | {"Through lenses": partial(_lenses, run, explained)})
    if choice is None:
        return
    split = current.split
    page_code_button(
        beside,
        "layers",
        current.shown,
        baseline=split.baseline,
        heads_by=None if split.convention == current.shown.convention else split.convention,
        **of_explained(explained),
        **choice,
    )


def _maps(draw: Callable[[Chosen, TokenRun], None], run: TokenRun) -> dict[str, Any] | None:
    """One tab of what the maps write: the choices, and below what they choose, as `View` has it; None without maps."""
    chosen = choices(layers().shown, run)
    if chosen is None:
        return None
    if chosen.sweep.complete or draw is read_out:
        draw(chosen, run)
    else:
        st.caption("This follows once the maps of all layers are there.")
    return {
        "mode": chosen.sweep.mode,
        "layer": chosen.layer,
        "part": chosen.kind,
        "token": 0 if chosen.joint else chosen.column,
        "joint": chosen.joint,
        "triplet": chosen.triplet,
    }


def _lenses(run: TokenRun, explained: Explained) -> dict[str, Any]:
    keep_choices()
    if not layers().model_there:
        st.caption("Nothing is shipped of the lenses: what every block reads as follows once the model is loaded.")
        return {"lenses": ()}
    page_jobs.watch()
    return {"lenses": lenses(run, explained)}


def _spectra(chosen: Chosen, _run: TokenRun) -> None:
    spectra(chosen, layers().shown)


def _path(chosen: Chosen, _run: TokenRun) -> None:
    path(chosen)


_DRAWN = {
    "Read-outs": read_out,
    "Spectra": _spectra,
    "The way to the last layer": _path,
    "When a token is read": first_read,
}

page()
