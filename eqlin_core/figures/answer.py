"""A whole answer as one heat map: what every part of the text adds to every part of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Shaped

from .chart import Chart, in_any_theme
from .labels import plotly_text, printed, token_label
from .layout import ALL_LABELS, base_layout, colour_bar, hover_tokens, label_axis, value_axis
from .palette import MONO, Theme, diverging_scale, look

ROW, THIN_ROW = 24, 12  # pixels of a row: of up to so many, and of more
FEW_ROWS = 30
BELOW = 78  # pixels of the colour bar
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
    the first position's terms often dwarf all others. Every point's customdata begin with its row; where there are too
    many cells for a point on each (`every_cell_told`), a row has one, on the last cell that it sees. Raises ValueError
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
            "colorbar": _bar_below(theme),
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
        "annotations": [_scale_words(cells, reach, measure, theme)],
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


def every_cell_told(seen: Shaped[np.ndarray, "rows columns"]) -> bool:
    """Whether each cell that a row sees can be clicked and has its number at the pointer; else one cell of each row."""
    return bool(np.count_nonzero(seen) <= MOST_POINTS)


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
    """Points that nobody sees, one on every cell, for the pointer: Plotly tells of clicks on points alone.

    Where that are too many, one on the last cell that a row sees, which tells of the row.
    """
    there = np.isfinite(visible)
    each = every_cell_told(there)
    if each:
        where = np.argwhere(there)
    else:
        where = np.array([[r, np.flatnonzero(row)[-1]] for r, row in enumerate(there) if row.any()])
    kind, said = plotly_text(measure), []
    for r, c in where:
        carried = f"{printed(rest[r], signed=True)} is carried by no token"
        if each:
            term = f"{rows[r]} by {columns[c]}<br>{kind} {printed(cells[r, c], signed=True)}"
            words = f"{term}<br>of the row's {printed(values[r])}; {carried}"
        else:
            words = f"{rows[r]}<br>{kind} {printed(values[r])}<br>{carried}"
        said.append([int(r), words])
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


def _scale_words(cells: np.ndarray, reach: float, measure: str, theme: Theme) -> dict[str, Any]:
    """What the colours are of, between the cells and the bar, whose own title Plotly draws over it."""
    largest = float(np.abs(cells[np.isfinite(cells)]).max(initial=0.0))
    text = f"part of the {plotly_text(measure)}"
    if largest > reach:
        text += f"<br>colours end at ±{printed(reach)}, largest {printed(largest)}"
    place = {"x": 0.5, "xref": "paper", "xanchor": "center", "y": 0, "yref": "paper", "yanchor": "top", "yshift": -4}
    return place | {"text": text, "showarrow": False, "font": {"size": 11, "color": look(theme).muted}}


def _bar_below(theme: Theme) -> dict[str, Any]:
    """The colour bar in one line below the cells, which have the whole width."""
    across = {"x": 0.5, "xanchor": "center", "len": 1.0, "xpad": 0}
    below = {"y": 0, "yanchor": "bottom", "yref": "container", "ypad": 4}
    return colour_bar(theme, "") | across | below | {"orientation": "h", "thickness": 10}


def _pale(head: str, colour: str) -> str:
    return f'<span style="color:{colour}">{head}</span>'


def _line(x: float, colour: str) -> dict[str, Any]:
    line = {"color": colour, "width": 1.5}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def _frame(row: int, columns: int, colour: str) -> dict[str, Any]:
    line = {"color": colour, "width": 1.5}
    ends = {"x0": -0.5, "x1": columns - 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return {"type": "rect", **ends, "line": line, "fillcolor": "rgba(0,0,0,0)"}
