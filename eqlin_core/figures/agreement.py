"""The terms of one prediction in several exact maps, one above the other."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .labels import printed, text_label
from .layout import base_layout, colour_bar, hover_tokens, token_axis, token_labels, value_axis
from .palette import Theme, diverging_scale, look
from .tokens import CELL_NUMBERS, cell_numbers
from .waterfall_bars import DIFFERS

ROW_HEIGHT = 30
NAME_WIDTH = 36  # characters of a map's name


@in_any_theme
def agreement(
    rows: Sequence[tuple[str, Float[np.ndarray, " tokens"]]],
    tokens: Sequence[str],
    *,
    shown: str,
    differs: Collection[int],
    theme: Theme = "light",
) -> Chart:
    """The terms of all exact maps, one row (name, terms) each; a colour is a term over the largest size of its row.

    The row `shown` is bold; a marker above a column says that the token's sign or rank differs among the maps. Raises
    ValueError without rows, for a row of another number of tokens, a `shown` that is no row, a position that does not
    exist.
    """
    T, n = len(tokens), len(rows)
    names = [name for name, _ in rows]
    if not rows:
        raise ValueError("There are no maps: at least one row is drawn.")
    if wrong := [(name, len(terms)) for name, terms in rows if len(terms) != T]:
        raise ValueError(f"{wrong[0][1]} terms of {wrong[0][0]!r} for {T} tokens.")
    if shown not in names:
        raise ValueError(f"There is no map {shown!r}; there are {', '.join(names)}.")
    if outside := [i for i in differs if not 0 <= i < T]:
        raise ValueError(f"Position {outside[0]} differs, of {T} tokens.")
    colours, hover = look(theme), hover_tokens(tokens)
    terms = np.stack([np.asarray(row, dtype=np.float64) for _, row in rows])
    largest = np.nanmax(np.abs(terms), axis=1, keepdims=True, initial=0.0)
    shares = np.divide(terms, largest, out=np.zeros_like(terms), where=largest > 0)
    labels = [text_label(name, NAME_WIDTH) for name in names]
    scale = colour_bar(theme, "over the row's<br>largest term") | {"tickvals": [-1, 0, 1]}
    scale["title"] |= {"side": "right"}  # above, it would touch the number at the top
    data: list[dict[str, Any]] = [
        {
            "type": "heatmap",
            "z": shares,
            "x": list(range(T)),
            "y": list(range(n)),
            "zmin": -1,
            "zmax": 1,
            "colorscale": diverging_scale(theme),
            "xgap": 1 if T <= 100 else 0,
            "ygap": 1,
            "customdata": [
                [
                    f"{hover[i]}  position {i}<br>{labels[j]}<br>term {printed(terms[j, i], signed=True)}"
                    f"<br>{printed(100 * shares[j, i], signed=True)} % of the row's largest"
                    for i in range(T)
                ]
                for j in range(n)
            ],
            "hovertemplate": "%{customdata}<extra></extra>",
            "colorbar": scale,
        }
    ]
    if T <= CELL_NUMBERS:
        data.append(cell_numbers(shares.T, 1.0, theme, terms.T))
    if differs:
        marked = sorted(differs)
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": marked,
                "y": [-0.85] * len(marked),
                "marker": {"symbol": "triangle-down", "size": 9, "color": colours.text},
                "customdata": [f"{hover[i]}  position {i}<br>{DIFFERS}" for i in marked],
                "hovertemplate": "%{customdata}<extra></extra>",
                "name": "differs",
            }
        )
    top = -1.2 if differs else -0.5
    axis = token_axis(theme, tokens)
    if differs:
        axis["title"] |= {"text": f"{axis['title']['text']}<br>▼ {DIFFERS}"}
    layout = base_layout(
        theme, "agreement", [*tokens, *names], ROW_HEIGHT * (n + bool(differs)) + 140, token_labels(tokens)
    ) | {
        "xaxis": axis,
        "yaxis": value_axis(
            theme,
            "exact map",
            tickmode="array",
            tickvals=list(range(n)),
            ticktext=[f"<b>{label}</b>" if name == shown else label for name, label in zip(names, labels, strict=True)],
            tickfont={"size": 12, "color": colours.text},
            range=[n - 0.5, top],
            showgrid=False,
            zeroline=False,
            ticks="",
        ),
    }
    table: dict[str, list[Any]] = {
        "map": [name for name in names for _ in range(T)],
        "position": list(range(T)) * n,
        "token": list(tokens) * n,
        "term": terms.ravel().tolist(),
    }
    return Chart("agreement", go.Figure(data=data, layout=layout), table)
