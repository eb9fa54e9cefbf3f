"""Methods against each other: the mean of each on every list of prompts, with its interval."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from .chart import Chart, in_any_theme
from .labels import printed, text_label
from .layout import base_layout, value_axis
from .palette import Theme, kind_colours, look

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross")
ROW, EDGES = 30, 96  # pixels of a method, and of what is above and below all of them
APART = 0.22  # between the lists of one method, in rows
NAME_WIDTH = 60
Mean = tuple[float, float, float]  # with the ends of its interval


@in_any_theme
def method_means(
    lists: Mapping[str, Mapping[str, Mean]],
    *,
    measure: str,
    exact: Collection[str] = (),
    theme: Theme = "light",
) -> Chart:
    """The (mean, low, high) of every method on every list, the methods from top to bottom as the first list has them.

    Names of `exact` methods are marked by a star. Raises ValueError without a list, and where lists differ in methods.
    """
    names = list(next(iter(lists.values()), {}))
    if not names:
        raise ValueError("There is nothing to draw: at least one list with one method is needed.")
    if any(list(values) != names for values in lists.values()):
        raise ValueError("Every list needs the same methods in the same order.")
    labels = [text_label(name, NAME_WIDTH) + (" *" if name in exact else "") for name in names]
    colours = kind_colours(list(lists), theme)
    middle = (len(lists) - 1) / 2
    data = []
    for i, (of, values) in enumerate(lists.items()):
        means, lows, highs = np.array([values[name] for name in names], dtype=np.float64).T
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": means.tolist(),
                "y": [row + APART * (i - middle) for row in range(len(names))],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": (highs - means).tolist(),
                    "arrayminus": (means - lows).tolist(),
                    "color": colours[i],
                    "thickness": 1.5,
                    "width": 0,
                },
                "marker": {"color": colours[i], "size": 8, "symbol": SYMBOLS[i % len(SYMBOLS)]},
                "name": text_label(of),
                "showlegend": True,
                "customdata": [
                    f"{text_label(name)}<br>{text_label(of)}<br>{printed(mean)} ({printed(low)} to {printed(high)})"
                    for name, mean, low, high in zip(names, means, lows, highs, strict=True)
                ],
                "hovertemplate": "%{customdata}<extra></extra>",
            }
        )
    layout = base_layout(theme, "method-means", [*names, *lists], EDGES + ROW * len(names)) | {
        "margin": {"l": 16, "r": 16, "t": 40, "b": 12},
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"color": look(theme).text}},
        "xaxis": value_axis(theme, text_label(measure)),
        "yaxis": value_axis(theme, "", zeroline=False)
        | {
            "tickmode": "array",
            "tickvals": list(range(len(names))),
            "ticktext": labels,
            "range": [len(names) - 0.4, -0.6],
            "tickfont": {"size": 12, "color": look(theme).text},
        },
    }
    rows = [(of, name, *values[name]) for of, values in lists.items() for name in names]
    columns = ("list", "method", "mean", "low", "high")
    table: dict[str, list[Any]] = {name: [row[i] for row in rows] for i, name in enumerate(columns)}
    return Chart("method-means", go.Figure(data=data, layout=layout), table)
