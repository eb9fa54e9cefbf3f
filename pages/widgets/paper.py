"""A chart as a figure for a paper: SVG or PDF in the width of a column, drawn when its button is pressed."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from threading import Lock

import streamlit as st

from eqlin_core.errors import EqlinError
from eqlin_core.figures import Chart
from pages.widgets.downloads import download_link

COLUMNS = {"one column, 89 mm": "single", "two columns, 183 mm": "double"}
_ONE = Lock()  # a Chromium at a time, however many visitors there are
_MIME = {"svg": "image/svg+xml", "pdf": "application/pdf"}


def paper_button(chart: Chart, key: str) -> None:
    """A button that opens the choice of width and file, and the figure's caption."""
    popover = st.popover(
        "Figure",
        key=f"{key}-paper",
        type="tertiary",
        on_change="rerun",
        help="SVG or PDF for a paper, in a column's width and print colours, with a caption.",
    )
    if popover.open:
        with popover:
            _choices(chart, key)


def _choices(chart: Chart, key: str) -> None:
    from eqlin_core.reports.chromium import chromium  # noqa: PLC0415 - nobody waits for it who does not open it

    try:
        chromium()
    except EqlinError as error:
        st.caption(str(error))
        return
    width = st.segmented_control("Width", list(COLUMNS), default=next(iter(COLUMNS)), required=True, key=f"{key}-width")
    paper = chart.in_theme("light")
    with st.container(horizontal=True):
        for kind, mime in _MIME.items():
            download_link(
                kind.upper(),
                partial(_file, paper, kind, COLUMNS[width or next(iter(COLUMNS))]),
                paper.file_name(kind),
                mime=mime,
                key=f"{key}-{kind}",
                help="Drawn when it is pressed, in a few seconds.",
            )
    st.caption("Caption")
    st.code(chart.caption, language=None, wrap_lines=True)


def _file(chart: Chart, kind: str, width: str) -> bytes:
    from eqlin_core.reports.paper import save_figure  # noqa: PLC0415 - as above

    with _ONE, tempfile.TemporaryDirectory(prefix="eqlin-") as folder:
        place = Path(folder, f"figure.{kind}")
        save_figure(chart, place, width)
        return place.read_bytes()
