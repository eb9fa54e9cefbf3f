"""How every page shows a chart: the figure as its builder made it, and its exact data one click away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import streamlit as st

from eqlin_core.figures import Chart, Provenance
from eqlin_core.runs.prompt import RunKey
from eqlin_core.version import __version__
from pages.visit.session import session
from pages.widgets.downloads import download_link
from pages.widgets.paper import paper_button
from pages.widgets.present import enlarged

_SOURCE: ContextVar[RunKey | Provenance | None] = ContextVar("source", default=None)


def show(chart: Chart, key: str, note: str = "", on_click: Callable[[], None] | None = None) -> None:
    """The chart, one line about it, and a button for its data; its picture is in the chart's own toolbar.

    ``on_click`` is called after a click on a point, which ``clicked(key)`` then gives.
    """
    chart = enlarged(known(chart))
    st.plotly_chart(
        chart.figure,
        theme=None,
        config=chart.config(),
        key=key,
        alt=chart.alternative,
        on_select="ignore" if on_click is None else on_click,
        selection_mode="points",
    )
    with st.container(horizontal=True, gap="xxsmall", vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(note or " ")
        with st.container(horizontal=True, width="content", gap="small", key=f"chores-{key}"):
            download(chart, key)
            paper_button(chart, key)


def known(chart: Chart) -> Chart:
    """The chart with where its numbers come from, which its downloads say."""
    run = provenance()
    return chart if run is None or chart.provenance is not None else chart.of(run)


def provenance() -> Provenance | None:
    """Where the numbers of the charts that are drawn now come from: the run on the screen, unless it was said.

    None while nothing is shown.
    """
    said, run = _SOURCE.get(), session().tokens
    if isinstance(said, Provenance):
        return said
    key = said or (None if run is None else run.key)
    if run is None or key is None:
        return None
    explained = st.session_state.get("explain") or (run.targets[0].token if run.targets else "")
    return Provenance(key.model, run.prompt, str(explained), key.dtype, key.convention.words, __version__)


@contextmanager
def numbers_of(source: RunKey | Provenance) -> Iterator[None]:
    """Within the context the charts' downloads say that their numbers are of another map, or of other runs."""
    token = _SOURCE.set(source)
    try:
        yield
    finally:
        _SOURCE.reset(token)


def at_height(chart: Chart, height: int) -> Chart:
    """The chart, so many pixels high."""
    chart.figure.layout.height = height
    return chart


def equal_heights(*charts: Chart) -> tuple[Chart, ...]:
    """The charts, each as high as the highest of them: what stands side by side ends on one line."""
    height = max(chart.figure.layout.height for chart in charts)
    return tuple(at_height(chart, height) for chart in charts)


def clicked(key: str) -> list[Any] | None:
    """The customdata of the point that was clicked on this chart; None where the click took a choice back."""
    points = st.session_state[key]["selection"]["points"]
    return list(points[0]["customdata"]) if points else None


def download(chart: Chart, key: str) -> None:
    """A small button that downloads the chart's data at full precision."""
    download_link(
        "CSV",
        chart.to_csv,
        chart.file_name("csv"),
        mime="text/csv",
        key=f"{key}-csv",
        help="The chart's data at full precision. The camera in the chart's corner saves its picture.",
    )
