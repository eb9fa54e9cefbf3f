"""How the page Layers follows its jobs: progress, a working Cancel, and what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.layers.cost import sweep_cost
from pages.sweep.state import MODES, Layers, layers
from pages.visit.polling import poll
from pages.visit.progress_line import progress_line
from pages.widgets.sentences import shortened

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import TokenRun

# Multiplications; the default model at ten tokens takes 1.6e12 of them.
AT_ONCE = 4_000_000_000_000


def watch(state: Layers) -> None:
    """Draw the progress of what is under way, then a sentence on what failed or was cancelled."""
    poll(_follow, going_on=lambda: layers().jobs.busy)
    with st.container():  # there without a sentence, too, so that none moves the charts below
        if state.error:
            st.error(shortened(state.error), icon=":material/error:")
        missing = [mode for mode in MODES if mode not in state.sweeps and (state.error or mode not in state.refused)]
        if missing and not state.jobs.busy:
            with st.container(horizontal=True, vertical_alignment="center"):
                said = "Cancelled. " if state.stopped else ""
                live = state.request is not None and state.request.convention.weight_share > 0
                why = " Where attention is not held they go by reverse passes, which take minutes." if live else ""
                st.caption(f"{said}Still to be computed: the {' and the '.join(missing)} maps.{why}")
                st.button("Compute the layers", key="ask_layers", on_click=state.ask, type="primary")


def _follow(active: bool) -> None:
    now = layers()
    if active and (now.advance() or not now.jobs.busy):
        st.rerun(scope="app")
    current = now.jobs.current
    if current is not None:
        progress_line(current, "Cancel", now.jobs.cancel, key="layers_progress", button="stop_layers")


def affordable(run: TokenRun) -> bool:
    """Whether the sweeps of this prompt start by themselves: the two take about a minute on two processor cores.

    Attention that is not held leaves only the reverse passes.
    """
    T, d = len(run.tokens), run.width
    cost = sweep_cost(T, d, run.n_layers, values=d, mixed=d, inner=4 * d)
    held = run.key.convention.weight_share == 0
    return (min(cost.forward, cost.reverse) if held else cost.reverse) <= AT_ONCE
