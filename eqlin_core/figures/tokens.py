"""Charts of the token contributions J_i x_i: their split over predicted tokens, their lengths and directions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .labels import printed, target_name
from .layout import BAR, base_layout, colour_bar, hover_tokens, token_axis, token_labels, value_axis
from .palette import MONO, Theme, diverging_colour, diverging_scale, look, token_colours
from .results import ExactMap, Vectors, vectors_of

CELL_NUMBERS = 12  # input tokens up to which a heat map prints the numbers into its cells
ROW_HEIGHT = 26  # pixels of a predicted token
CLIP_PERCENTILE = 99.0  # the colour range ends here, so that one huge term does not pale all others


@in_any_theme
def token_target_heatmap(
    shares: Float[np.ndarray, "tokens targets"],
    tokens: Sequence[str],
    targets: Sequence[str],
    *,
    explained: int | None = 0,
    probabilities: Sequence[float] | None = None,
    limit: float | None = None,
    theme: Theme = "light",
) -> Chart:
    """The signed parts w_j . J_i x_i of input token i in the logit of predicted token j.

    `explained` is the index in `targets` of the row that is marked; a `LogProbability` there says that the logits are
    those above the mean. Colours run from -limit to limit, by default the
    largest size, or the 99th percentile where a few are much larger; the colour bar says so where they end early.
    """
    values = np.asarray(shares, dtype=np.float64)
    T, n = values.shape
    if (T, n) != (len(tokens), len(targets)):
        raise ValueError(f"shares is {T} x {n}, for {len(tokens)} tokens and {len(targets)} targets.")
    if limit is not None and not limit > 0:
        raise ValueError(f"The limit of the colours is above zero, not {limit}.")
    reach, percentile = symmetric_range(values) if limit is None else (float(limit), False)
    colours = look(theme)
    hover, target_hover = hover_tokens(tokens), hover_tokens(targets)
    rows = token_labels(targets)
    if probabilities is not None:
        rows = [f"{row}  {100 * float(p):.1f}%" for row, p in zip(rows, probabilities, strict=True)]
    if explained is not None:
        rows[explained] = f"<b>{rows[explained]}</b>"
    part = f"part of the {target_name(targets[0]) if targets else 'logit'}"
    title = part
    if percentile:
        largest = printed(np.abs(values[np.isfinite(values)]).max())
        title += (
            f"<br>(colours end at the<br>{CLIP_PERCENTILE:.0f}th percentile,<br>±{printed(reach)}; largest: {largest})"
        )
    else:
        title += clipped_at(values, reach)
    cells = {
        "type": "heatmap",
        "z": values.T,
        "x": list(range(T)),
        "y": list(range(n)),
        "zmin": -reach,
        "zmax": reach,
        "colorscale": diverging_scale(theme),
        "xgap": 1 if T <= 100 else 0,
        "ygap": 1,
        "customdata": [
            [[hover[i], i, target_hover[j], printed(values[i, j], signed=True)] for i in range(T)] for j in range(n)
        ],
        "hovertemplate": "input %{customdata[0]}  position %{customdata[1]}<br>predicted %{customdata[2]}"
        f"<br>{part} %{{customdata[3]}}<extra></extra>",
        "colorbar": colour_bar(theme, title),
    }
    data = [cells, cell_numbers(values, reach, theme)] if T <= CELL_NUMBERS else [cells]
    labels = token_labels(tokens)
    layout = base_layout(theme, "token-target-heatmap", [*tokens, *targets], ROW_HEIGHT * n + 110, labels) | {
        "xaxis": token_axis(theme, tokens),
        "yaxis": value_axis(
            theme,
            "predicted token",
            tickmode="array",
            tickvals=list(range(n)),
            ticktext=rows,
            tickfont={"family": MONO, "size": 12, "color": colours.text},
            range=[n - 0.5, -0.5],
            showgrid=False,
            zeroline=False,
            ticks="",
        ),
        "shapes": [_frame(explained, T, colours.text)] if explained is not None else [],
    }
    table: dict[str, list[Any]] = {
        "position": [i for i in range(T) for _ in range(n)],
        "token": [tokens[i] for i in range(T) for _ in range(n)],
        "target_rank": [j + 1 for _ in range(T) for j in range(n)],
        "target": [targets[j] for _ in range(T) for j in range(n)],
        "term": values.ravel().tolist(),
    }
    return Chart("token-target-heatmap", go.Figure(data=data, layout=layout), table)


@in_any_theme
def norms_and_cosines(
    norms: Float[np.ndarray, " tokens"] | ExactMap | Vectors,
    cosines: Float[np.ndarray, " tokens"] | None = None,
    tokens: Sequence[str] | None = None,
    *,
    theme: Theme = "light",
) -> Chart:
    """Above, the lengths ||J_i x_i||; below, the cosine of each J_i x_i with the output y.

    `norms_and_cosines(lin)` takes all three from a linear map, or from a run that has them. Raises ValueError where
    one is missing, or their numbers differ.
    """
    if isinstance(norms, ExactMap | Vectors):
        norms, cosines, tokens = vectors_of(norms)
    if cosines is None or tokens is None:
        raise ValueError("Norms and cosines take norms, cosines and tokens, or a linear map.")
    lengths, angles = np.asarray(norms, dtype=np.float64), np.asarray(cosines, dtype=np.float64)
    T = len(tokens)
    if not len(lengths) == len(angles) == T:
        raise ValueError(f"{len(lengths)} norms and {len(angles)} cosines for {T} tokens.")
    position_colours = token_colours(T, theme)
    hover = hover_tokens(tokens)
    shared = {
        "type": "bar",
        "x": list(range(T)),
        "width": BAR,
        "marker": {"color": position_colours, "line": {"width": 0}},
        "customdata": [[hover[i], i, printed(lengths[i]), printed(angles[i], signed=True)] for i in range(T)],
        "hovertemplate": "%{customdata[0]}  position %{customdata[1]}<br>‖Jᵢ xᵢ‖ %{customdata[2]}"
        "<br>cosine with y %{customdata[3]}<extra></extra>",
    }
    data = [
        shared | {"y": lengths.tolist(), "name": "norm", "yaxis": "y"},
        shared | {"y": angles.tolist(), "name": "cosine", "yaxis": "y2"},
    ]
    layout = base_layout(theme, "norms-and-cosines", tokens, 420, token_labels(tokens)) | {
        "xaxis": token_axis(theme, tokens, anchor="y2"),
        "yaxis": value_axis(theme, "norm ‖Jᵢ xᵢ‖", domain=[0.48, 1.0], rangemode="tozero"),
        "yaxis2": value_axis(theme, "cosine with y", domain=[0.0, 0.4], range=[-1.08, 1.08], dtick=0.5),
    }
    table = {
        "position": list(range(T)),
        "token": list(tokens),
        "norm": lengths.tolist(),
        "cosine": angles.tolist(),
    }
    return Chart("norms-and-cosines", go.Figure(data=data, layout=layout), table)


def symmetric_range(values: Float[np.ndarray, "..."]) -> tuple[float, bool]:
    """(limit, clipped): the colour range -limit..limit, and whether some values lie outside it."""
    sizes = np.abs(values[np.isfinite(values)])
    largest = float(sizes.max(initial=0.0))
    if largest == 0.0:
        return 1.0, False
    robust = float(np.percentile(sizes, CLIP_PERCENTILE))
    # a range that one outlier stretches by less than a half needs no clipping
    return (robust, True) if 0 < robust * 1.5 < largest else (largest, False)


def clipped_at(values: np.ndarray, reach: float) -> str:
    """Lines for the title of a colour bar that ends at -reach and reach: how far the values go; empty if no farther."""
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    if largest <= reach:
        return ""
    return f"<br>(colours end<br>at ±{printed(reach)};<br>largest: {printed(largest)})"


def cell_numbers(
    values: np.ndarray, limit: float, theme: Theme, printed_values: np.ndarray | None = None
) -> dict[str, Any]:
    """The numbers in the cells, each in a text colour that reads well on its cell.

    `values` [tokens, rows] are those of the colours; `printed_values`, of the same shape, where others are to be read.
    """
    T, n = values.shape
    numbers = values if printed_values is None else printed_values
    cells = [(i, j) for i in range(T) for j in range(n)]
    return {
        "type": "scatter",
        "mode": "text",
        "x": [i for i, _ in cells],
        "y": [j for _, j in cells],
        "text": [printed(numbers[cell]) for cell in cells],
        "textfont": {
            "family": MONO,
            "size": 11,
            "color": [diverging_colour(values[cell], limit, theme)[1] for cell in cells],
        },
        "hoverinfo": "skip",
        "name": "values",
    }


def _frame(row: int, T: int, colour: str) -> dict[str, Any]:
    """A frame around the row of the explained token."""
    return {
        "type": "rect",
        "x0": -0.5,
        "x1": T - 0.5,
        "y0": row - 0.5,
        "y1": row + 0.5,
        "line": {"color": colour, "width": 1.5},
        "fillcolor": "rgba(0,0,0,0)",
    }
