"""Charts of a study: how a number is spread over many prompts, by the token's position, and two numbers together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from .chart import Chart, in_any_theme
from .labels import plotly_text, printed, text_label
from .layout import HOVER_WIDTH, base_layout, log_axis, value_axis
from .palette import MONO, Theme, look, token_colours

ROW, GAP = 64, 0.3  # pixels of a histogram, and the share of it that is left free above, for its median
BINS = 36
MOST_ROWS = 12


@in_any_theme
def histograms(
    groups: Mapping[str, Sequence[float]], *, quantity: str, log: bool = False, theme: Theme = "light"
) -> Chart:
    """A histogram of a ``quantity`` for every group of values, one below the other, with a line at each median.

    The bins are those of all together; with ``log`` values that are not positive are left out. Values that are not
    finite are left out, and so are groups without any. Raises ValueError where none is left.
    """
    values = {name: _usable(found, log) for name, found in groups.items()}
    values = dict([(name, found) for name, found in values.items() if len(found)][:MOST_ROWS])
    if not values:
        raise ValueError("There is no value to draw.")
    every = np.concatenate(list(values.values()))
    edges = _edges(every, log)
    colours = token_colours(len(values), theme)
    traces: list[Any] = []
    table: dict[str, list[Any]] = {"group": [], "from": [], "to": [], "count": []}
    for place, (name, found) in enumerate(values.items()):
        counts = np.histogram(found, edges)[0]
        traces += _rows(place, name, found, counts, edges, colours[place], quantity, theme)
        table["group"] += [name] * len(counts)
        table["from"] += edges[:-1].tolist()
        table["to"] += edges[1:].tolist()
        table["count"] += counts.tolist()
    n = len(values)
    axis = value_axis(theme, quantity, zeroline=False) | (log_axis(every) if log else {})
    labels = [f"{text_label(name)}  <i>n</i> = {len(found)}" for name, found in values.items()]
    layout = base_layout(theme, "study-histograms", [quantity, str(log), *values], 96 + ROW * n) | {
        "xaxis": axis,
        "yaxis": value_axis(theme, "", showgrid=False, zeroline=False)
        | {"tickvals": list(range(n)), "ticktext": labels, "tickfont": {"size": 12, "color": look(theme).text}}
        | {"range": [n - 0.7, -1], "fixedrange": True, "ticks": ""},
        "bargap": 0,
    }
    return Chart("study-histograms", go.Figure(data=traces, layout=layout), table)


@in_any_theme
def measures_scatter(
    x: Sequence[float],
    y: Sequence[float],
    names: Sequence[str],
    *,
    quantities: tuple[str, str],
    log: tuple[bool, bool] = (False, False),
    theme: Theme = "light",
) -> Chart:
    """Two numbers of every prompt or token as a point each; ``names`` are said under the pointer.

    Points of which one number is not finite, or not positive on a logarithmic axis, are left out. Raises ValueError
    for columns of different lengths, and where no point is left.
    """
    across, up = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if not len(across) == len(up) == len(names):
        raise ValueError(f"{len(across)} and {len(up)} numbers for {len(names)} names.")
    there = np.isfinite(across) & np.isfinite(up) & ((across > 0) | (not log[0])) & ((up > 0) | (not log[1]))
    if not there.any():
        raise ValueError("There is no point to draw.")
    across, up = across[there], up[there]
    said = [text_label(name, HOVER_WIDTH) for name, is_there in zip(names, there, strict=True) if is_there]
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": across.tolist(),
        "y": up.tolist(),
        "marker": {"color": look(theme).accent, "size": 7, "opacity": 0.6, "line": {"width": 0}},
        "customdata": [[name, printed(a), printed(b)] for name, a, b in zip(said, across, up, strict=True)],
        "hovertemplate": f"%{{customdata[0]}}<br>{plotly_text(quantities[0])} %{{customdata[1]}}<br>"
        f"{plotly_text(quantities[1])} %{{customdata[2]}}<extra></extra>",
        "name": "",
    }
    layout = base_layout(theme, "study-scatter", [*quantities, str(log)], 440) | {
        "xaxis": value_axis(theme, quantities[0], zeroline=False) | (log_axis(across) if log[0] else {}),
        "yaxis": value_axis(theme, quantities[1], zeroline=False) | (log_axis(up) if log[1] else {}),
    }
    names_of = [name for name, is_there in zip(names, there, strict=True) if is_there]
    table = {"name": names_of, quantities[0]: across.tolist(), quantities[1]: up.tolist()}
    return Chart("study-scatter", go.Figure(data=[points], layout=layout), table)


def _usable(values: Sequence[float], log: bool) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    return found[np.isfinite(found) & ((found > 0) | (not log))]


def _edges(values: np.ndarray, log: bool) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = (low / 1.1, high * 1.1) if log else (low - 0.5, high + 0.5)
    return np.geomspace(low, high, BINS + 1) if log else np.linspace(low, high, BINS + 1)


def _rows(
    place: int,
    name: str,
    found: np.ndarray,
    counts: np.ndarray,
    edges: np.ndarray,
    colour: str,
    quantity: str,
    theme: Theme,
) -> list[dict[str, Any]]:
    """The bars of one group, which stand on its line, and its median."""
    heights = counts / max(1, counts.max()) * (1 - GAP)
    said = [f"{printed(a)} to {printed(b)}: {n}" for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]
    middle = float(np.median(found))
    outline = {
        "type": "scatter",
        "mode": "lines",
        "line": {"color": colour, "width": 1, "shape": "hv"},
        "fill": "toself",
        "fillcolor": colour,
        "hoverinfo": "skip",
        "x": np.repeat(edges, 2).tolist(),
        "y": [place, *(place - np.repeat(heights, 2)).tolist(), place],
        "name": name,
    }
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": ((edges[:-1] * edges[1:]) ** 0.5 if edges[0] > 0 else (edges[:-1] + edges[1:]) / 2).tolist(),
        "y": (place - heights / 2).tolist(),
        "marker": {"size": 12, "color": "rgba(0,0,0,0)"},
        "customdata": [[text_label(name), one] for one in said],
        "hovertemplate": "%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
        "name": name,
    }
    median = {
        "type": "scatter",
        "mode": "lines+text",
        "x": [middle, middle],
        "y": [place, place - 1 + GAP],
        "line": {"color": look(theme).text, "width": 1.5},
        "text": ["", printed(middle)],
        "textposition": "top center",
        "textfont": {"family": MONO, "size": 11, "color": look(theme).text},
        "hovertemplate": f"median {printed(middle)}<extra></extra>",
        "name": f"median of {plotly_text(quantity)}, {text_label(name)}",
        "cliponaxis": False,
    }
    return [outline, points, median]
