"""What swapped tokens change, as a waterfall: the frozen map's part of each swap, then what freezing hides."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .labels import text_label, token_label
from .layout import HOVER_WIDTH, base_layout, label_axis, value_axis
from .palette import Theme, look
from .waterfall_bars import Bar, bar_trace, connectors, numbers, smallest, value_range

VALUE_LABELS = 16  # bars up to which each carries its number
LABEL_WIDTH = 10  # characters of a token at its bar
HEIGHT = 400
FORESEEN, HIDDEN = "frozen map", "what freezing hides"


@in_any_theme
def counterfactual(
    swaps: Sequence[tuple[str, str]],
    positions: Sequence[int],
    parts: Float[np.ndarray, " swaps"],
    hidden: Mapping[str, float],
    *,
    measured: float,
    measure: str,
    tolerance: float = 1e-6,
    top: int | None = 24,
    theme: Theme = "light",
) -> Chart:
    """The change of a measure in the model as a sum: each swapped token's part in the frozen map, then the `hidden`.

    `swaps` are (token, other token) at `positions`. Of more than `top` the smallest share one bar; the table has all.
    Raises ValueError where parts and hidden miss `measured` by more than `tolerance` times the sum of their sizes, and
    where numbers of swaps differ.
    """
    values = np.asarray(parts, dtype=np.float64)
    if not 0 < len(values) == len(swaps) == len(positions):
        raise ValueError(f"{len(values)} parts for {len(swaps)} swapped tokens at {len(positions)} positions.")
    added = {name: float(value) for name, value in hidden.items()}
    every = [*values.tolist(), *added.values()]
    size = math.fsum(map(abs, [*every, measured]))
    if not abs(math.fsum(every) - measured) <= tolerance * size:
        raise ValueError(
            f"The parts sum to {math.fsum(every):.17g}, measured is {float(measured):.17g}: they differ by more than "
            f"{tolerance:g} of the sum of their sizes."
        )
    grouped = smallest(values, top)
    bars = _bars(swaps, positions, values, added, grouped)
    bars.append(Bar("<i>in the model</i>", "measured in the model:", float(measured), 0.0, float(measured), True))
    seen = [*(text for swap in swaps for text in swap), measure, *added]
    labels = [bar.label for bar in bars]
    first = len(bars) - 1 - len(added)  # of what freezing hides
    low, high = value_range([0.0, *(edge for bar in bars for edge in (bar.start, bar.end))])
    room = 0.1 * (high - low)  # for what stands above both parts
    colours = look(theme)
    layout = base_layout(theme, "counterfactual", seen, HEIGHT, labels) | {
        "xaxis": label_axis(theme, "swapped tokens, then what is set free", labels),
        "yaxis": value_axis(theme, f"change of the {text_label(measure)}", range=[low, high + room]),
        "annotations": [
            *(numbers(bars, colours.text) if len(bars) <= VALUE_LABELS else []),
            *_headings(first, theme),
        ],
        "shapes": [_divider(first - 0.5, theme), _divider(len(bars) - 1.5, theme)],
    }
    data = [bar_trace(bars, theme), connectors(bars, colours.muted)]
    return Chart(
        "counterfactual",
        go.Figure(data=data, layout=layout),
        _table(swaps, positions, values, added, float(measured), grouped),
    )


def _bars(
    swaps: Sequence[tuple[str, str]],
    positions: Sequence[int],
    values: np.ndarray,
    added: Mapping[str, float],
    grouped: set[int],
) -> list[Bar]:
    found: list[tuple[str, str, float]] = []
    for i, (a, b) in enumerate(swaps):
        if i not in grouped:
            said = f"{token_label(a, HOVER_WIDTH)} → {token_label(b, HOVER_WIDTH)}  position {positions[i]}"
            found.append((f"{token_label(a, LABEL_WIDTH)}→{token_label(b, LABEL_WIDTH)}", said, float(values[i])))
    if grouped:
        others = f"{len(grouped)} other tokens"
        found.append((f"<i>{others}</i>", others, math.fsum(float(values[i]) for i in grouped)))
    found += [(f"<i>{text_label(name)}</i>", f"{text_label(name)} set free", value) for name, value in added.items()]
    reached = [0.0, *(math.fsum(one[2] for one in found[: i + 1]) for i in range(len(found)))]
    return [
        Bar(label, said, value, start=reached[i], end=reached[i + 1]) for i, (label, said, value) in enumerate(found)
    ]


def _headings(first: int, theme: Theme) -> list[dict[str, Any]]:
    """What stands left and right of the line between both parts."""
    font = {"size": 12, "color": look(theme).muted}
    shared = {"x": first - 0.5, "y": 1, "yref": "paper", "yanchor": "top", "showarrow": False, "font": font}
    return [
        shared | {"text": FORESEEN, "xanchor": "right", "xshift": -6},
        shared | {"text": HIDDEN, "xanchor": "left", "xshift": 6},
    ]


def _divider(x: float, theme: Theme) -> dict[str, Any]:
    line = {"color": look(theme).muted, "width": 1, "dash": "dot"}
    return {"type": "line", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}


def _table(
    swaps: Sequence[tuple[str, str]],
    positions: Sequence[int],
    values: np.ndarray,
    added: Mapping[str, float],
    measured: float,
    grouped: set[int],
) -> dict[str, list[Any]]:
    """One row a part, with the sum up to and including it."""
    n, m = len(values), len(added)
    parts = [*values.tolist(), *added.values()]
    return {
        "part": [*["map"] * n, *added, "in the model"],
        "position": [*positions, *[""] * (m + 1)],
        "token": [*(a for a, _ in swaps), *[""] * (m + 1)],
        "other": [*(b for _, b in swaps), *[""] * (m + 1)],
        "change": [*parts, measured],
        "running_sum": [*(math.fsum(parts[: i + 1]) for i in range(n + m)), measured],
        "in_other_tokens": [*(i in grouped for i in range(n)), *[False] * (m + 1)],
    }
