"""Charts over layers: spectra, stable ranks, the path of the singular vectors, when a token becomes the read-out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from .chart import Chart, in_any_theme
from .labels import printed, token_label
from .layout import BAR, base_layout, colour_bar, hover_tokens, label_axis, log_axis, token_labels, value_axis
from .palette import MONO, Theme, look, sequential_colour, sequential_scale, token_colours

KIND_NAMES = {"layer": "block output", "attn": "attention", "mlp": "MLP"}  # "attn" is whatever mixes positions
LABELLED = 0.3  # from the centre of the path on: closer to it the layers' numbers lie over one another
LABEL_ROOM = (0.1, 0.11)  # across and upwards, of one number on the path: others keep so far away
WIDE = 2.0  # pixels across for one upwards, of the same step on the path
FAINTEST = 0.22  # of the layers' ramp: the first layer is still seen on the page


def layer_colours(L: int, theme: Theme = "light") -> list[str]:
    """A colour for each layer, the deeper the stronger."""
    return [sequential_colour(FAINTEST + (1 - FAINTEST) * i / max(1, L - 1), theme)[0] for i in range(L)]


@in_any_theme
def layer_spectra(
    S: Float[np.ndarray, "layers k"], *, name: str, log: bool = True, chosen: int | None = None, theme: Theme = "light"
) -> Chart:
    """The singular values of one column's map at every layer, a line a layer in its colour; ``name`` is the column."""
    values = np.asarray(S, dtype=np.float64)
    L, k = values.shape
    colours = layer_colours(L, theme)
    index = list(range(1, k + 1))
    data: list[dict[str, Any]] = []
    for layer in sorted(range(L), key=lambda i: i == chosen):
        thick = layer == chosen
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": index,
                "y": np.where(values[layer] > 0, values[layer], np.nan) if log else values[layer],
                "line": {"color": look(theme).text if thick else colours[layer], "width": 2.5 if thick else 1.4},
                "marker": {"size": 6 if thick else 4},
                "name": f"layer {layer}",
                "customdata": [printed(v) for v in values[layer]],
                "hovertemplate": f"layer {layer}<br>k = %{{x}}<br>σₖ %{{customdata}}<extra></extra>",
            }
        )
    data.append(_layer_bar(L, theme))
    layout = base_layout(theme, "layer-spectra", [name], height=380) | {
        "xaxis": value_axis(theme, "index k of the singular value", dtick=1, zeroline=False, range=[0.7, k + 0.3]),
        "yaxis": value_axis(
            theme,
            "singular value σₖ",
            uirevision=f"log {log}",
            **(log_axis(values) if log else {"rangemode": "tozero"}),
        ),
    }
    table: dict[str, list[Any]] = {
        "layer": [layer for layer in range(L) for _ in range(k)],
        "k": [j for _ in range(L) for j in index],
        "sigma": values.ravel().tolist(),
    }
    return Chart("layer-spectra", go.Figure(data=data, layout=layout), table)


@in_any_theme
def layer_stable_ranks(
    ranks: Mapping[str, Float[np.ndarray, "layers kinds"]],
    kinds: Sequence[str],
    *,
    name: str,
    mixer: str = KIND_NAMES["attn"],
    log: bool = True,
    theme: Theme = "light",
) -> Chart:
    """The stable rank over layers by mode ("cumulative" full lines, "layerwise" dashed) and kind, for one column.

    ``mixer`` is the word for the kind "attn".
    """
    looks = look(theme)
    colours = {"layer": looks.text, "attn": looks.positive, "mlp": looks.negative}
    modes = list(ranks)
    data: list[dict[str, Any]] = []
    table: dict[str, list[Any]] = {"mode": [], "kind": [], "layer": [], "stable_rank": []}
    for mode in modes:
        for i, kind in enumerate(kinds):
            y = np.asarray(ranks[mode][:, i], dtype=np.float64)
            named = mixer if kind == "attn" else KIND_NAMES[kind]
            label = f"{named}, {'one block' if mode == 'layerwise' else 'cumulative'}"
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "x": list(range(len(y))),
                    "y": y,
                    "line": {"color": colours[kind], "width": 1.8, "dash": "dot" if mode == "layerwise" else "solid"},
                    "marker": {"size": 5, "symbol": "circle-open" if mode == "layerwise" else "circle"},
                    "name": label,
                    "customdata": [[layer, printed(v)] for layer, v in enumerate(y)],
                    "hovertemplate": f"layer %{{customdata[0]}}<br>{label}<br>stable rank %{{customdata[1]}}"
                    "<extra></extra>",
                }
            )
            table["mode"] += [mode] * len(y)
            table["kind"] += [kind] * len(y)
            table["layer"] += list(range(len(y)))
            table["stable_rank"] += y.tolist()
    layout = base_layout(theme, "layer-stable-ranks", [name, *modes], height=380) | {
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 12}},
        "margin": {"l": 64, "r": 16, "t": 64, "b": 56},
        "xaxis": value_axis(theme, "layer", zeroline=False),
        "yaxis": value_axis(
            theme,
            "stable rank",
            uirevision=f"log {log}",
            **(log_axis(np.array(table["stable_rank"])) if log else {"rangemode": "tozero"}),
        ),
    }
    return Chart("layer-stable-ranks", go.Figure(data=data, layout=layout), table)


@in_any_theme
def layer_path(path: Float[np.ndarray, "layers 2 2"], *, name: str, theme: Theme = "light") -> Chart:
    """u_1 and u_2 of every layer, projected on u_1 (across) and u_2 (upwards) of the last layer, where they end."""
    points = np.asarray(path, dtype=np.float64)
    L = len(points)
    labelled = _apart(points)
    colours = layer_colours(L, theme)
    data: list[dict[str, Any]] = []
    for k, symbol in ((0, "circle"), (1, "diamond")):
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers+text",
                "x": points[:, k, 0],
                "y": points[:, k, 1],
                "line": {"color": look(theme).muted, "width": 0.8},
                "marker": {"size": 9, "symbol": symbol, "color": colours, "line": {"width": 0}},
                "text": [str(i) if (i, k) in labelled else "" for i in range(L)],
                "textposition": ["middle right" if upright else "top center" for upright in _upright(points[:, k])],
                "textfont": {"family": MONO, "size": 10, "color": look(theme).muted},
                "name": f"u{'₁₂'[k]}",
                "customdata": [[i, printed(points[i, k, 0]), printed(points[i, k, 1])] for i in range(L)],
                "hovertemplate": f"u{'₁₂'[k]} of layer %{{customdata[0]}}<br>on the last u₁ %{{customdata[1]}}"
                "<br>on the last u₂ %{customdata[2]}<extra></extra>",
            }
        )
    data.append(_layer_bar(L, theme))
    layout = base_layout(theme, "layer-path", [name], height=420) | {
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": value_axis(theme, "cosine with u₁ of the last layer", range=[-1.1, 1.1], dtick=0.5),
        "yaxis": value_axis(theme, "cosine with u₂ of the last layer", range=[-1.15, 1.15], dtick=0.5),
    }
    table: dict[str, list[Any]] = {
        "layer": [i for i in range(L) for _ in range(2)],
        "u": [k for _ in range(L) for k in (1, 2)],
        "with_last_u1": points[..., 0].ravel().tolist(),
        "with_last_u2": points[..., 1].ravel().tolist(),
    }
    return Chart("layer-path", go.Figure(data=data, layout=layout), table)


def _upright(points: np.ndarray) -> list[bool]:
    """Whether a path runs rather upwards than across at each of its points, on a chart that is wide."""
    across, upwards = np.abs(np.gradient(points, axis=0)).T if len(points) > 1 else np.zeros((2, len(points)))
    return (upwards > WIDE * across).tolist()


def _apart(points: np.ndarray) -> set[tuple[int, int]]:
    """(layer, u) of the points whose labels lie over no other one: the last layer's first, then the first's, fives."""
    L = len(points)
    order = sorted(range(L), key=lambda i: (i != L - 1, i != 0, i % 5 != 0, -i))
    kept: dict[tuple[int, int], np.ndarray] = {}
    for i, k in ((i, k) for i in order for k in (0, 1)):
        steps = (np.abs(points[i, k] - other) for other in kept.values())
        if np.hypot(*points[i, k]) > LABELLED and not any((step < LABEL_ROOM).all() for step in steps):
            kept[i, k] = points[i, k]
    return set(kept)


@in_any_theme
def first_layers(
    layers: Int[np.ndarray, " columns"], columns: Sequence[str], *, token: str, n_layers: int, theme: Theme = "light"
) -> Chart:
    """At which layer ``token`` first becomes the read-out: for every token and, last, the joint map; -1 is never."""
    first = np.asarray(layers)
    C = len(columns)
    labels, hover = token_labels(columns), hover_tokens(columns)
    reached = [i for i in range(C) if first[i] >= 0]
    never = [i for i in range(C) if first[i] < 0]
    ramp = [*token_colours(C - 1, theme), look(theme).total]  # the last column is the joint map
    data: list[dict[str, Any]] = [
        {
            "type": "bar",
            "x": reached,
            "y": [n_layers - int(first[i]) for i in reached],
            "base": [int(first[i]) for i in reached],
            "width": BAR,
            "marker": {"color": [ramp[i] for i in reached], "line": {"width": 0}},
            "text": [str(int(first[i])) for i in reached],
            "textposition": "inside",
            "insidetextanchor": "start",
            "textangle": 0,
            "customdata": [hover[i] for i in reached],
            "hovertemplate": "%{customdata}<br>first at layer %{base}<extra></extra>",
            "name": "first layer",
        },
        {
            "type": "scatter",
            "mode": "text",
            "x": never,
            "y": [n_layers / 2] * len(never),
            "text": ["never"] * len(never),
            "textfont": {"size": 11, "color": look(theme).muted},
            "hoverinfo": "skip",
            "name": "never",
        },
    ]
    layout = base_layout(theme, "first-layers", [*columns, token], 320, labels) | {
        "xaxis": label_axis(theme, "map of", labels),
        "yaxis": value_axis(theme, f"layers that read {token_label(token)}", range=[0, n_layers], zeroline=False),
    }
    table: dict[str, list[Any]] = {"column": list(columns), "first_layer": [int(i) for i in first]}
    return Chart("first-layers", go.Figure(data=data, layout=layout), table)


def _layer_bar(L: int, theme: Theme) -> dict[str, Any]:
    """An empty trace whose colour bar says which layer has which colour."""
    scale = [(t, sequential_colour(FAINTEST + (1 - FAINTEST) * t, theme)[0]) for t, _ in sequential_scale(theme)]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [None],
        "y": [None],
        "showlegend": False,
        "hoverinfo": "skip",
        "marker": {
            "color": [0],
            "cmin": 0,
            "cmax": max(1, L - 1),
            "colorscale": scale,
            "colorbar": colour_bar(theme, "layer"),
        },
    }
