"""Charts of the reconstruction: the output against the sum of the J_i x_i, and how far the two are apart."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .labels import format_error, plotly_text
from .layout import base_layout, log_axis, value_axis
from .palette import SANS, Theme, look

HEIGHT = 400
BINS = 48  # of the error histogram, over all powers of ten that occur


@in_any_theme
def reconstruction_scatter(
    output: Float[np.ndarray, " d"],
    reconstructed: Mapping[str, Float[np.ndarray, " d"]],
    *,
    theme: Theme = "light",
) -> Chart:
    """Each coordinate of the output y against the same of sum J_i x_i + b, a colour for each named Jacobian."""
    y = np.asarray(output, dtype=np.float64)
    sums = _checked(y, reconstructed)
    low, high = float(y.min(initial=0.0)), float(y.max(initial=0.0))
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [low, high],
            "y": [low, high],
            "line": {"color": look(theme).muted, "width": 1, "dash": "dot"},
            "hoverinfo": "skip",
            "name": "equal",
            "showlegend": False,
        }
    ]
    for rank, ((name, values), style) in reversed(list(enumerate(zip(sums.items(), _styles(theme), strict=False)))):
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": y,
                "y": values,
                "marker": style | {"size": 5},
                "customdata": np.arange(len(y)),
                "hovertemplate": f"{plotly_text(name)}<br>dimension %{{customdata}}<br>y %{{x:.4g}}"
                "<br>Σ Jᵢxᵢ + b %{y:.4g}<extra></extra>",
                "name": plotly_text(name),
                "legendrank": rank + 1,
            }
        )
    layout = base_layout(theme, "reconstruction", list(sums), HEIGHT) | {
        "showlegend": True,
        "legend": _legend(theme),
        "xaxis": value_axis(theme, "output y, each dimension"),
        "yaxis": value_axis(theme, "Σ Jᵢxᵢ + b"),
    }
    table: dict[str, Any] = {"dimension": list(range(len(y))), "output": y.tolist()}
    table |= {name: values.tolist() for name, values in sums.items()}
    return Chart("reconstruction", go.Figure(data=data, layout=layout), table)


@in_any_theme
def error_histogram(
    output: Float[np.ndarray, " d"],
    reconstructed: Mapping[str, Float[np.ndarray, " d"]],
    *,
    theme: Theme = "light",
) -> Chart:
    """How many dimensions of sum J_i x_i + b miss those of y by how much, over powers of ten of the error."""
    y = np.asarray(output, dtype=np.float64)
    errors = {name: np.abs(values - y) for name, values in _checked(y, reconstructed).items()}
    positive = np.concatenate([*(e[e > 0] for e in errors.values()), np.zeros(0)])
    least, most = (float(positive.min()), float(positive.max())) if positive.size else (1e-16, 1.0)
    edges = np.linspace(np.log10(least), max(np.log10(most), np.log10(least) + 0.1), BINS + 1)
    none = 2 * edges[0] - edges[2]  # where errors of exactly zero are drawn, which have no place on the axis
    data: list[dict[str, Any]] = []
    for (name, values), style in zip(errors.items(), _styles(theme), strict=False):
        counts, _ = np.histogram(np.clip(np.log10(values[values > 0]), edges[0], edges[-1]), edges)
        zeros = int(np.sum(values == 0))
        spans = [f"{format_error(10**a)} to {format_error(10**b)}" for a, b in pairwise(edges)]
        data.append(
            {
                "type": "bar",
                "x": 10 ** np.append((edges[1:] + edges[:-1]) / 2, none),
                "y": [*counts.tolist(), zeros],
                "width": [*np.diff(10**edges).tolist(), 10**none * (10 ** (edges[1] - edges[0]) - 1)],
                "marker": {"color": style["color"], "opacity": 0.75, "line": {"width": 0}},
                "customdata": [*spans, "exactly 0"],
                "hovertemplate": f"{plotly_text(name)}<br>%{{y}} dimensions with an error of<br>%{{customdata}}"
                "<extra></extra>",
                "name": plotly_text(name),
            }
        )
    layout = base_layout(theme, "reconstruction-errors", list(errors), HEIGHT) | {
        "barmode": "overlay",
        "showlegend": True,
        "legend": _legend(theme),
        "xaxis": value_axis(
            theme,
            "error of a dimension, |Σ Jᵢxᵢ + b − y|",
            zeroline=False,
            **log_axis(positive),
        ),
        "yaxis": value_axis(theme, "dimensions"),
        "annotations": [_zero(none, theme)] if any((e == 0).any() for e in errors.values()) else [],
    }
    table: dict[str, Any] = {"dimension": list(range(len(y)))}
    table |= {name: values.tolist() for name, values in errors.items()}
    return Chart("reconstruction-errors", go.Figure(data=data, layout=layout), table)


def _zero(position: float, theme: Theme) -> dict[str, Any]:
    """The tick under the bar of errors that are exactly zero."""
    font = {"size": 12, "color": look(theme).muted}
    place = {"x": position, "y": 0, "yref": "paper", "yanchor": "top", "yshift": -4}
    return place | {"text": "0", "showarrow": False, "font": font}


def _checked(y: np.ndarray, reconstructed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    sums = {name: np.asarray(values, dtype=np.float64) for name, values in reconstructed.items()}
    for name, values in sums.items():
        if values.shape != y.shape:
            raise ValueError(f"{name} has {values.shape} values for the {y.shape} of the output.")
    return sums


def _styles(theme: Theme) -> list[dict[str, Any]]:
    """The exact one, the ordinary one, and one between them; shapes tell them apart without colours."""
    colours = look(theme)
    return [
        {"color": colours.accent, "symbol": "circle", "opacity": 0.9},
        {
            "color": colours.negative,
            "symbol": "x-thin",
            "opacity": 0.9,
            "line": {"width": 1.5, "color": colours.negative},
        },
        {"color": colours.total, "symbol": "diamond-open", "opacity": 0.9},
    ]


def _legend(theme: Theme) -> dict[str, Any]:
    return {
        "font": {"family": SANS, "size": 12, "color": look(theme).text},
        "bgcolor": "rgba(0,0,0,0)",
        "orientation": "h",
        "x": 0,
        "y": 1.02,
        "yanchor": "bottom",
    }
