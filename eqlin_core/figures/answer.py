"""A whole answer as one heat map: what every part of the text adds to every part of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .labels import plotly_text, printed, token_label
from .layout import ALL_LABELS, base_layout, colour_bar, hover_tokens, label_axis, value_axis
from .palette import MONO, Theme, diverging_scale, look

ROW, THIN_ROW = 24, 12  # pixels of a row: of up to so many, and of more
FEW_ROWS = 30
BELOW = 62  # pixels of the colour bar
LABEL = 14  # characters of a group on an axis
MOST_POINTS = 12_000  # cells up to which each can be clicked
CLIP = 99.0  # percentile of the sizes at which the colours end


@in_any_theme
def answer_heatmap(
    terms: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    values: Float[np.ndarray, " rows"],
    rest: Float[np.ndarray, " rows"],
    seen: Float[np.ndarray, "rows columns"] | None = None,
    muted: Sequence[bool] = (),
    first: int | None = None,
    chosen: int | None = None,
    measure: str = "log-probability",
    theme: Theme = "light",
) -> Chart:
    """Terms of the answer's parts (rows, downwards) by parts of the text: a row and its ``rest`` sum to its value.

    ``seen`` is zero where a row cannot see a column, which stays empty. ``muted`` columns have paler heads (a chat's
    template); a line stands before column ``first``, where the answer begins. ``chosen`` is the row that is marked. The
    colours end at the largest size in all columns but the one with the largest term, at most at the 99th percentile:
    the first position's terms often dwarf all others. Every point's customdata begin with its row. Raises ValueError
    where the sizes disagree.
    """
    cells = np.asarray(terms, dtype=np.float64)
    R, C = cells.shape
    if (len(rows), len(columns)) != (R, C) or not len(values) == len(rest) == R:
        raise ValueError(f"terms is {R} x {C}, for {len(rows)} rows, {len(values)} values and {len(columns)} columns.")
    colours = look(theme)
    reach = colour_reach(cells)
    visible = cells if seen is None else np.where(np.asarray(seen) > 0, cells, np.nan)
    row_hover, column_hover = hover_tokens(rows), hover_tokens(columns)
    data: list[dict[str, Any]] = [
        {
            "type": "heatmap",
            "z": visible,
            "x": list(range(C)),
            "y": list(range(R)),
            "zmin": -reach,
            "zmax": reach,
            "colorscale": diverging_scale(theme),
            "xgap": 1 if C <= 100 else 0,
            "ygap": 1,
            "hoverinfo": "skip",
            "colorbar": _bar_below(theme, f"part of the {plotly_text(measure)}{_ends(cells, reach)}"),
        },
        _points(visible, cells, rest, values, row_hover, column_hover, measure),
    ]
    heads = [token_label(column, LABEL) for column in columns]
    if muted and C <= ALL_LABELS:
        heads = [_pale(head, colours.muted) if pale else head for head, pale in zip(heads, muted, strict=True)]
    labels = [f"{token_label(row, LABEL)}  {printed(value)}" for row, value in zip(rows, values, strict=True)]
    if chosen is not None:
        labels[chosen] = f"<b>{labels[chosen]}</b>"
    height = R * (ROW if R <= FEW_ROWS else THIN_ROW) + 60 + BELOW
    plain = [token_label(column, LABEL) for column in columns]
    layout = base_layout(theme, "answer-heatmap", [*rows, *columns], height, plain) | {
        "hoverdistance": 60,
        "xaxis": label_axis(theme, "", heads, side="top"),
        "yaxis": value_axis(
            theme,
            "",
            tickmode="array",
            tickvals=list(range(R)),
            ticktext=labels,
            tickfont={"family": MONO, "size": 12 if R <= FEW_ROWS else 10, "color": colours.text},
            range=[R - 0.5, -0.5],
            minallowed=-0.5,
            maxallowed=R - 0.5,
            showgrid=False,
            zeroline=False,
            ticks="",
        ),
        "shapes": [
            *([_line(first - 0.5, colours.muted)] if first is not None and 0 < first < C else []),
            *([_frame(chosen, C, colours.text)] if chosen is not None else []),
        ],
    }
    layout["margin"] = layout["margin"] | {"t": 12, "b": BELOW}
    table: dict[str, list[Any]] = {
        "row": [r for r in range(R) for _ in range(C)],
        "answer": [rows[r] for r in range(R) for _ in range(C)],
        "column": [c for _ in range(R) for c in range(C)],
        "text": [columns[c] for _ in range(R) for c in range(C)],
        "term": cells.ravel().tolist(),
        "row_rest": [float(rest[r]) for r in range(R) for _ in range(C)],
        "row_value": [float(values[r]) for r in range(R) for _ in range(C)],
    }
    return Chart("answer-heatmap", go.Figure(data=data, layout=layout), table)


def colour_reach(cells: Float[np.ndarray, "rows columns"]) -> float:
    """Where the colours end: the 99th percentile of the sizes outside the column of the largest one."""
    sizes = np.abs(np.where(np.isfinite(cells), cells, 0.0))
    if sizes.shape[1] > 2:
        sizes = np.delete(sizes, int(sizes.max(0).argmax()), axis=1)
    shown = sizes[sizes > 0]
    return float(np.percentile(shown, CLIP)) if shown.size else 1.0


def _points(
    visible: np.ndarray,
    cells: np.ndarray,
    rest: np.ndarray,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    measure: str,
) -> dict[str, Any]:
    """Points that nobody sees, one on every cell, for the pointer: Plotly tells of clicks on points alone."""
    R, C = cells.shape
    where = np.argwhere(np.isfinite(visible))
    if len(where) > MOST_POINTS:
        where = np.array([[r, C - 1] for r in range(R)])
    said = [
        [
            int(r),
            f"{rows[r]} by {columns[c]}<br>{plotly_text(measure)} {printed(cells[r, c], signed=True)}<br>of the "
            f"row's {printed(values[r])}; {printed(rest[r], signed=True)} is carried by no token",
        ]
        for r, c in where
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": where[:, 1].tolist(),
        "y": where[:, 0].tolist(),
        "marker": {"size": 14, "opacity": 0, "symbol": "square"},
        "selected": {"marker": {"opacity": 0}},
        "unselected": {"marker": {"opacity": 0}},
        "customdata": said,
        "hovertemplate": "%{customdata[1]}<extra></extra>",
    }


def _ends(cells: np.ndarray, reach: float) -> str:
    largest = float(np.abs(cells[np.isfinite(cells)]).max(initial=0.0))
    return "" if largest <= reach else f" (to ±{printed(reach)}; largest {printed(largest)})"


def _bar_below(theme: Theme, title: str) -> dict[str, Any]:
    """The colour bar in one line below the cells, which have the whole width."""
    bar = colour_bar(theme, title)
    bar["title"]["side"] = "top"
    across = {"x": 0.5, "xanchor": "center", "xref": "container", "len": 0.9}
    below = {"y": 0, "yanchor": "bottom", "yref": "container", "ypad": 4}
    return bar | across | below | {"orientation": "h", "thickness": 10}


def _pale(head: str, colour: str) -> str:
    return f'<span style="color:{colour}">{head}</span>'


def _line(x: float, colour: str) -> dict[str, Any]:
    line = {"color": colour, "width": 1.5}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def _frame(row: int, columns: int, colour: str) -> dict[str, Any]:
    line = {"color": colour, "width": 1.5}
    ends = {"x0": -0.5, "x1": columns - 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return {"type": "rect", **ends, "line": line, "fillcolor": "rgba(0,0,0,0)"}
