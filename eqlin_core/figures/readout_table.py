"""The read-out table: layers by input tokens, each cell the first tokens of a left singular vector."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .labels import printed, token_label, visible_token
from .layout import base_layout, colour_bar, hover_tokens, label_axis, token_labels, value_axis
from .palette import MONO, Theme, diverging_scale, look, sequential_scale

ROW_HEIGHT = 20
CELL_COLUMNS = 20  # up to so many columns a cell has room for a token
ROW_CHARACTERS = 108  # of all cells of a row, on a figure about 950 pixels wide
TOKEN_WIDTH = 10  # characters of the first token in a cell with room for two
PALE = 0.6  # of the colour scales' reach, so that the theme's own text is readable on every cell

Reads = Sequence[Sequence[Sequence[str]]]  # layer, column, the tokens read, best first


@in_any_theme
def readout_table(
    reads: Reads,
    values: Float[np.ndarray, "layers columns"],
    columns: Sequence[str],
    *,
    quantity: str,
    details: Sequence[tuple[str, Float[np.ndarray, "layers columns"]]] = (),
    signed: bool = False,
    log: bool = False,
    chosen: tuple[int, int] | None = None,
    across: str | None = None,
    theme: Theme = "light",
) -> Chart:
    """Layers downwards, columns across (the input tokens and the joint map), coloured by ``values`` of ``quantity``.

    ``signed`` centres the colours at zero, ``log`` spreads them by the logarithm; ``details`` are further numbers for
    the hover text. ``across`` says what the columns are where they are no tokens but read-outs of one stream, whose
    last layer is the model itself. ``chosen`` is the (layer, column) of the framed cell. Each cell carries a marker to
    be clicked, whose customdata begins with layer and column; one that reads no tokens is still to come, and blank.
    """
    shown = np.asarray(values, dtype=np.float64)
    L, C = shown.shape
    if len(reads) != L or any(len(row) != C for row in reads) or len(columns) != C:
        raise ValueError(f"values is {L} x {C}; the reads and the {len(columns)} columns differ from that.")
    places = [(layer, column) for layer in range(L) for column in range(C) if reads[layer][column]]
    labels, named = (token_labels(columns), hover_tokens(columns)) if across is None else (list(columns), columns)
    numbers = [(quantity, shown), *((name, np.asarray(v, dtype=np.float64)) for name, v in details)]
    cells = _cells(shown, reads, theme, quantity=quantity, signed=signed, log=log)
    markers = _markers(places, reads, named, numbers)
    name = "readout-table" if across is None else "lens-table"
    layout = base_layout(theme, name, columns, ROW_HEIGHT * L + 100, labels) | {
        "xaxis": label_axis(theme, across or "input token", labels) | {"range": [-0.5, C - 0.5], "side": "top"},
        "yaxis": value_axis(
            theme,
            "layer",
            range=[L - 0.5, -0.5],
            tickmode="array",
            tickvals=list(range(0, L, 1 if L <= 40 else 5)),
            showgrid=False,
            zeroline=False,
            ticks="",
            tickfont={"family": MONO, "size": 11, "color": look(theme).muted},
        ),
        "margin": {"l": 56, "r": 16, "t": 56, "b": 16},
        "shapes": [] if chosen is None else [_frame(*chosen, look(theme).text)],
    }
    table: dict[str, list[Any]] = {
        "layer": [layer for layer, _ in places],
        "column": [column for _, column in places],
        "token" if across is None else "read_out": [columns[column] for _, column in places],
        "reads": [" | ".join(reads[layer][column]) for layer, column in places],
    }
    table |= {called: [float(v[place]) for place in places] for called, v in numbers}
    return Chart(name, go.Figure(data=[cells, markers], layout=layout), table)


def _cells(shown: np.ndarray, reads: Reads, theme: Theme, *, quantity: str, signed: bool, log: bool) -> dict[str, Any]:
    """The heat map, with the tokens in its cells where they have room."""
    L, C = shown.shape
    scaled = np.log10(np.where(shown > 0, shown, np.nan)) if log else shown
    low, high = _range(scaled, signed)
    cells: dict[str, Any] = {
        "type": "heatmap",
        "z": scaled,
        "x": list(range(C)),
        "y": list(range(L)),
        "zmin": low,
        "zmax": high,
        "colorscale": diverging_scale(theme, PALE) if signed else sequential_scale(theme, PALE),
        "xgap": 1,
        "ygap": 1,
        "hoverinfo": "skip",
        "colorbar": colour_bar(theme, quantity) | (_log_ticks(low, high) if log else {}),
    }
    if C <= CELL_COLUMNS:
        cells["text"] = [[_cell(row[c], ROW_CHARACTERS // max(C, 4)) for c in range(C)] for row in reads]
        cells["texttemplate"] = "%{text}"  # in the heat map, which a click does not dim
        cells["textfont"] = {"family": MONO, "size": 11, "color": look(theme).text}
    return cells


def _markers(
    places: Sequence[tuple[int, int]],
    reads: Reads,
    names: Sequence[str],
    numbers: Sequence[tuple[str, np.ndarray]],
) -> dict[str, Any]:
    """What is clicked and hovered over: one unseen marker a cell."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [column for _, column in places],
        "y": [layer for layer, _ in places],
        "marker": {"symbol": "square", "size": ROW_HEIGHT - 2, "color": "rgba(0,0,0,0)"},
        "selected": {"marker": {"color": "rgba(0,0,0,0)"}},
        "unselected": {"marker": {"color": "rgba(0,0,0,0)"}},
        "customdata": [
            [
                layer,
                column,
                names[column],
                "  ".join(hover_tokens(reads[layer][column])),
                "".join(f"<br>{name} {printed(v[layer, column])}" for name, v in numbers),
            ]
            for layer, column in places
        ],
        "hovertemplate": "layer %{customdata[0]}, %{customdata[2]}<br>%{customdata[3]}%{customdata[4]}<extra></extra>",
        "name": "read-outs",
    }


def _cell(tokens: Sequence[str], room: int) -> str:
    """The first token, and the second where there is room for a readable part of it; nothing where there is none."""
    if not tokens:
        return ""
    first = visible_token(tokens[0], min(TOKEN_WIDTH, room))
    left = room - len(first) - 1
    rest = [token_label(tokens[1], left)] if len(tokens) > 1 and left >= 4 else []
    return " ".join([token_label(tokens[0], min(TOKEN_WIDTH, room)), *rest])


def _range(values: np.ndarray, signed: bool) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if signed:
        reach = float(np.abs(finite).max(initial=0.0)) or 1.0
        return -reach, reach
    low, high = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
    return (low, high) if low < high else (min(low, 0.0) if np.isfinite(low) else 0.0, 1.0)


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks of a colour bar over logarithms, written as the values themselves."""
    ticks = np.linspace(low, high, 5)
    return {"tickmode": "array", "tickvals": ticks.tolist(), "ticktext": [printed(10**t) for t in ticks]}


def _frame(layer: int, column: int, colour: str) -> dict[str, Any]:
    return {
        "type": "rect",
        "x0": column - 0.5,
        "x1": column + 0.5,
        "y0": layer - 0.5,
        "y1": layer + 0.5,
        "line": {"color": colour, "width": 2},
    }
