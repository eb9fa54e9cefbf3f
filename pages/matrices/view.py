"""The heat maps of one or two tokens' matrices, the window into them, and their largest columns and rows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import visible_token
from pages.matrices import jobs
from pages.matrices.jobs import Span
from pages.visit.page_jobs import page_jobs, waiting
from pages.visit.session import session
from pages.widgets.charts import download, known, show
from pages.widgets.downloads import download_answer
from pages.widgets.explained import NONE
from pages.widgets.paper import paper_button
from pages.widgets.present import enlarged
from pages.widgets.row_choice import ROW, words
from pages.widgets.theme import theme
from pages.widgets.token_choice import choose_token, token_name
from pages.worker.request import Request

if TYPE_CHECKING:
    from eqlin_core.figures import Chart
    from eqlin_core.runs.matrix import Line, MatrixRun, MatrixView
    from eqlin_core.runs.prompt import TokenRun

Window = tuple[Span, Span]
FEWEST = 4  # rows or columns of a window
IN_TABLE = 6  # tokens of each read-out of a column or row
_ROWS, _COLUMNS = "rows", "columns"
_READ = {
    "column": ("writes", "What an input dimension writes here: its column, signed as xⱼ is, through the unembedding."),
    "row": ("looks for", "What an output dimension looks for: the cosine of its row with the input embeddings."),
}


def choose_tokens(run: TokenRun) -> list[int]:
    """The position of the chosen token, and of a second one beside it."""
    names = [token_name(run.tokens, i) for i in range(len(run.tokens))]
    if st.session_state.get("beside") not in names:
        st.session_state.pop("beside", None)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = choose_token(run.tokens, width=240)
        second = st.selectbox("beside it", [NONE, *names], key="beside", bind="query-params", width=240)
        st.segmented_control(
            "Colours",
            ["common", "own"],
            default="common",
            required=True,
            key="colours",
            bind="query-params",
            help="One colour scale for both matrices, or one for each.",
            disabled=second == NONE,
        )
        st.toggle("Inset spectrum", True, key="inset", bind="query-params")
    return [first] + ([] if second in (NONE, None, names[first]) else [names.index(second)])


def choose_window(width: int) -> Window:
    """The rows and columns that are looked at; a box that is drawn in a heat map sets them as well."""
    whole = (0, width - 1)
    for key in (_ROWS, _COLUMNS):
        if st.session_state.get(key, whole)[1] >= width:  # of a wider model
            st.session_state[key] = whole
    left, middle, right = st.columns([5, 5, 2], gap="medium", vertical_alignment="bottom")
    with left:
        rows: Span = st.slider(
            "Rows",
            *whole,
            whole,
            key=_ROWS,
            bind="query-params",
            help="Output dimensions. A box drawn in a heat map sets both.",
        )
    with middle:
        columns: Span = st.slider("Columns", *whole, whole, key=_COLUMNS, bind="query-params", help="Input dimensions.")
    right.button(
        "Whole matrix",
        key="whole",
        on_click=_set_window,
        args=(whole, whole),
        disabled=(rows, columns) == (whole, whole),
        width="stretch",
    )
    return _span(rows, width), _span(columns, width)


def draw_matrices(request: Request, run: TokenRun, chosen: list[int], window: Window) -> None:
    """Each chosen token's heat map with its largest columns and rows; colours are common unless that was switched."""
    matrices = [_matrix(request, token) for token in chosen]
    limits = [one.limit for one in matrices if one is not None]
    common = st.session_state["colours"] == "common"
    alone = len(chosen) == 1
    halves = st.columns(2, gap="medium")
    for place, (token, one) in enumerate(zip(chosen, matrices, strict=True)):
        with halves[place]:
            st.header(f"Matrix of {visible_token(run.tokens[token])} (position {token})")
            if one is None:
                waiting(f"matrix {token}", "the matrix")
                continue
            view = _view(request, one, window)
            with st.container():  # one place, whatever is in it: the chart below stays where it is
                if view is None:
                    waiting(f"view {token}", "this part of the matrix")
                else:
                    _heatmap(place, run, one, view, max(limits) if common else one.limit)
        with halves[1 if alone else place]:
            _norms(place, run, one)
    halves = st.columns(2, gap="medium")
    for place, one in enumerate(matrices):
        if one is not None:
            with halves[place]:
                _lines(one.columns, "column", f"columns-{place}")
            with halves[1 if alone else place]:
                _lines(one.rows, "row", f"rows-{place}")


def _heatmap(place: int, run: TokenRun, one: MatrixRun, view: MatrixView, limit: float) -> None:
    spectra = session().spectra
    chart = enlarged(
        known(
            figures.matrix_heatmap(
                view.cells,
                token=one.name,
                position=one.token,
                limit=limit,
                rows=view.rows,
                columns=view.columns,
                block=view.block,
                sigma=spectra.S[one.token] if spectra is not None and st.session_state["inset"] else None,
                theme=theme(),
            )
        )
    )
    # A new window is a new chart: the box that was drawn in the old one is gone with it.
    drawn = f"heatmap-{place}-{one.token}-{view.rows}-{view.columns}"
    with st.container(key=f"heatmap-{place}"):
        st.plotly_chart(
            chart.figure,
            theme=None,
            config=chart.config(),
            key=drawn,
            on_select=partial(_take_box, drawn, run.width),
            selection_mode="box",
            alt=chart.alternative,
        )
    _under(place, run, view, chart)


def _under(place: int, run: TokenRun, view: MatrixView, chart: Chart) -> None:
    """What a cell stands for, and the downloads: the cells as they are drawn, and the exact matrix."""
    rows, columns = view.block
    said = (
        f"Every entry ({run.key.dtype})."
        if view.block == (1, 1)
        else f"Reduced: a cell is the largest entry of {rows} × {columns} ({run.key.dtype}). Draw a box to see finer."
    )
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(said)
        download(chart, f"heatmap-{place}")
        paper_button(chart, f"heatmap-{place}")
        shown = session().shown
        assert shown is not None
        download_answer(
            "Exact matrix",
            jobs.file(shown, view.token),
            f"matrix-{view.token}.npy",
            key=f"matrix-file-{place}",
            help="All d × d entries of this token's matrix as a NumPy file, rows first.",
        )


def _norms(place: int, run: TokenRun, one: MatrixRun) -> None:
    st.header(f"Largest columns and rows of {visible_token(one.name)}")
    show(
        figures.line_norms(
            one.column_norms,
            one.row_norms,
            largest_columns=[line.index for line in one.columns],
            largest_rows=[line.index for line in one.rows],
            token=one.name,
            position=one.token,
            theme=theme(),
        ),
        f"line-norms-{place}",
        f"Euclidean norms ({run.key.dtype}).",
    )


def _lines(lines: list[Line], kind: str, key: str) -> None:
    """The largest columns or rows as a table, with what they read as."""
    does, meaning = _READ[kind]
    st.dataframe(
        {
            kind: [line.index for line in lines],
            "norm": [line.norm for line in lines],
            does: [words(line.reads, IN_TABLE) for line in lines],
        },
        hide_index=True,
        key=key,
        row_height=ROW,
        column_config={
            kind: st.column_config.NumberColumn(width=60),
            "norm": st.column_config.NumberColumn(format="%.3g", width=60, help=f"Euclidean norm of the {kind}"),
            does: st.column_config.TextColumn(help=meaning),
        },
    )
    st.caption(meaning)


def _matrix(request: Request, token: int) -> MatrixRun | None:
    return page_jobs().want(f"matrix {token}", jobs.matrix(request, token))


def _view(request: Request, one: MatrixRun, window: Window) -> MatrixView | None:
    if window == (one.whole.rows, one.whole.columns):
        return one.whole
    return page_jobs().want(f"view {one.token}", jobs.view(request, one.token, *window))


def _take_box(drawn: str, width: int) -> None:
    """The rows and columns under a box that was drawn in a heat map."""
    boxes: Any = st.session_state[drawn]["selection"]["box"]
    if boxes and boxes[0]["xref"] == "x":
        _set_window(*(_inside(boxes[0][axis], width) for axis in "yx"))


def _inside(ends: list[float], width: int) -> Span:
    """The whole indices between two ends of a box, FEWEST of them at least, as the slider counts them."""
    low, high = (min(max(round(end), 0), width - 1) for end in sorted(ends))
    low = min(low, max(0, width - FEWEST))
    return low, max(high, min(low + FEWEST, width) - 1)


def _set_window(rows: Span, columns: Span) -> None:
    st.session_state[_ROWS], st.session_state[_COLUMNS] = rows, columns


def _span(ends: Span, width: int) -> Span:
    """The range of indices, its end not included, between the ends of a slider."""
    low, high = _inside([*ends], width)
    return low, high + 1
