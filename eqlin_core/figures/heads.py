"""Charts of direct contributions: layers by heads, one head's input tokens, and attention beside MLP in every layer."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .labels import Explained, logit_label, printed
from .layout import BAR, base_layout, colour_bar, hover_tokens, token_axis, token_labels, value_axis
from .palette import MONO, Theme, diverging_scale, look, signed_colours
from .tokens import clipped_at, symmetric_range

ROW_HEIGHT = 18
NUMBERS = 400  # cells up to which the numbers are printed
MOST_DECIMALS = 4


@in_any_theme
def heads_table(
    heads: Float[np.ndarray, "layers heads"],
    *,
    explained: Explained,
    chosen: tuple[int, int] | None = None,
    theme: Theme = "light",
) -> Chart:
    """What each head writes directly of the explained logit; each cell carries a marker to be clicked.

    Where one head dwarfs the others the colours end below it, and the colour bar says so.

    The markers' customdata begins with layer and head; ``chosen`` is the framed cell.
    """
    values = np.asarray(heads, dtype=np.float64)
    L, H = values.shape
    reach, _ = symmetric_range(values)
    what = logit_label(explained).replace(" − ", "<br>− ")  # the bar stands beside the cells, which need its room
    cells: dict[str, Any] = {
        "type": "heatmap",
        "z": values,
        "x": list(range(H)),
        "y": list(range(L)),
        "zmin": -reach,
        "zmax": reach,
        "colorscale": diverging_scale(theme),
        "xgap": 1,
        "ygap": 1,
        "hoverinfo": "skip",
        "colorbar": colour_bar(theme, f"part of the<br>{what}{clipped_at(values, reach)}"),
    }
    place = [(layer, head) for layer in range(L) for head in range(H)]
    markers: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": [head for _, head in place],
        "y": [layer for layer, _ in place],
        "marker": {"symbol": "square", "size": ROW_HEIGHT - 2, "color": "rgba(0,0,0,0)"},
        "selected": {"marker": {"color": "rgba(0,0,0,0)"}},
        "unselected": {"marker": {"color": "rgba(0,0,0,0)"}},
        "customdata": [[layer, head, printed(values[layer, head], signed=True)] for layer, head in place],
        "hovertemplate": "layer %{customdata[0]}, head %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
        "name": "heads",
    }
    if L * H <= NUMBERS:
        cells["text"] = [[_short(v, reach) if abs(v) >= reach / 20 else "" for v in row] for row in values]
        cells["texttemplate"] = "%{text}"  # in the heat map, which a click does not dim
        cells["textfont"] = {"family": MONO, "size": 10}
    step = 1 if H <= 40 else 5
    layout = base_layout(theme, "heads", [str(explained)], ROW_HEIGHT * L + 90) | {
        "xaxis": value_axis(theme, "head", range=[-0.5, H - 0.5], tickmode="linear", dtick=step, showgrid=False)
        | {"zeroline": False, "ticks": "", "side": "top"},
        "yaxis": value_axis(theme, "layer", range=[L - 0.5, -0.5], showgrid=False, zeroline=False, ticks="")
        | {"tickmode": "linear", "dtick": 1 if L <= 40 else 5},
        "margin": {"l": 56, "r": 16, "t": 56, "b": 16},
        "shapes": []
        if chosen is None
        else [
            {
                "type": "rect",
                "x0": chosen[1] - 0.5,
                "x1": chosen[1] + 0.5,
                "y0": chosen[0] - 0.5,
                "y1": chosen[0] + 0.5,
                "line": {"color": look(theme).text, "width": 2},
            }
        ],
    }
    table: dict[str, list[Any]] = {
        "layer": [layer for layer, _ in place],
        "head": [head for _, head in place],
        "term": [float(values[p]) for p in place],
    }
    return Chart("heads", go.Figure(data=[cells, markers], layout=layout), table)


def _short(value: float, reach: float) -> str:
    """A number for a narrow cell: as many decimals as tell two digits of the largest colour."""
    decimals = max(0, 1 - math.floor(math.log10(reach)))
    return printed(value) if decimals > MOST_DECIMALS else f"{value:.{decimals}f}".replace("-", "−")


@in_any_theme
def head_tokens(
    terms: Float[np.ndarray, " tokens"],
    tokens: Sequence[str],
    *,
    layer: int,
    head: int,
    explained: Explained,
    theme: Theme = "light",
) -> Chart:
    """From which input tokens one head's part of the explained logit comes."""
    values = np.asarray(terms, dtype=np.float64)
    hover = hover_tokens(tokens)
    bars = {
        "type": "bar",
        "x": list(range(len(values))),
        "y": values,
        "width": BAR,
        "marker": {"color": signed_colours(values.tolist(), theme), "line": {"width": 0}},
        "customdata": [[hover[i], i, printed(v, signed=True)] for i, v in enumerate(values)],
        "hovertemplate": "%{customdata[0]}  position %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
        "name": "part",
    }
    layout = base_layout(theme, "head-tokens", [*tokens, str(explained)], 300, token_labels(tokens)) | {
        "xaxis": token_axis(theme, tokens),
        "yaxis": value_axis(theme, f"part of the<br>{logit_label(explained)}"),
    }
    table: dict[str, list[Any]] = {
        "layer": [layer] * len(values),
        "head": [head] * len(values),
        "position": list(range(len(values))),
        "token": list(tokens),
        "term": values.tolist(),
    }
    return Chart("head-tokens", go.Figure(data=[bars], layout=layout), table)


@in_any_theme
def direct_layers(
    attn: Float[np.ndarray, " layers"],
    mlp: Float[np.ndarray, " layers"],
    rest: float,
    *,
    explained: Explained,
    theme: Theme = "light",
) -> Chart:
    """What attention and MLP of every layer write directly; ``rest`` is the embedding's and the constants' part."""
    a, m = np.asarray(attn, dtype=np.float64), np.asarray(mlp, dtype=np.float64)
    colours = look(theme)
    L = len(a)
    data = []
    for name, values, colour, shift in (("attention", a, colours.positive, -0.2), ("MLP", m, colours.negative, 0.2)):
        data.append(
            {
                "type": "bar",
                "x": [i + shift for i in range(L)],
                "y": values,
                "width": 0.38,
                "marker": {"color": colour, "line": {"width": 0}},
                "customdata": [[i, printed(v, signed=True)] for i, v in enumerate(values)],
                "hovertemplate": f"{name} of layer %{{customdata[0]}}<br>%{{customdata[1]}}<extra></extra>",
                "name": name,
            }
        )
    layout = base_layout(theme, "direct-layers", [str(explained)], 300) | {
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": value_axis(theme, "layer", zeroline=False, range=[-0.7, L - 0.3]),
        "yaxis": value_axis(theme, f"part of the<br>{logit_label(explained)}"),
        "barmode": "overlay",
    }
    table: dict[str, list[Any]] = {
        "part": ["embedding and constants", *["attention"] * L, *["mlp"] * L],
        "layer": ["", *range(L), *range(L)],
        "term": [float(rest), *a.tolist(), *m.tolist()],
    }
    return Chart("direct-layers", go.Figure(data=data, layout=layout), table)
