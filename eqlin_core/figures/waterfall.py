"""The waterfall: from the bias through every token's term to the logit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, SupportsFloat

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart
from .labels import Explained, logit_label, printed
from .layout import BAR, base_layout, hover_tokens, label_axis, token_labels, value_axis
from .palette import MONO, Theme, look, signed_colours

VALUE_LABELS = 16  # up to so many bars carry their number; beyond, only the hover does


@dataclass(frozen=True)
class Bar:
    """One bar of the waterfall, from the running sum before it to the one after it."""

    label: str
    hover: str
    value: float
    start: float
    end: float
    is_total: bool = False

    @property
    def number(self) -> str:
        """The value as it is printed at the bar, a term with its sign."""
        return printed(self.value, signed=not self.is_total)

    @property
    def hover_text(self) -> str:
        """What is said under the pointer."""
        if self.is_total:
            return f"{self.hover} {self.number}"
        return f"{self.hover}<br>term {self.number}<br>sum so far {printed(self.end)}"


def waterfall(
    bias: SupportsFloat,
    terms: Float[np.ndarray, " tokens"],
    total: SupportsFloat,
    tokens: Sequence[str],
    *,
    explained: Explained,
    top: int | None = 40,
    tolerance: float = 1e-6,
    theme: Theme = "light",
) -> Chart:
    """The exact sum w.y = w.b + sum_i w.J_i x_i as bars from the bias to the logit.

    `explained` is the token of w, or a pair (A, B) where w is the difference of two unembedding rows. Of more than
    `top` tokens the smallest terms share one bar "N other tokens"; the table always has every term. Raises ValueError
    if the parts miss `total` by more than `tolerance` times the sum of their sizes: pass the bound of the run's dtype.
    """
    values = np.asarray(terms, dtype=np.float64)
    if len(values) != len(tokens):
        raise ValueError(f"{len(values)} terms for {len(tokens)} tokens.")
    offset, reached = float(bias), float(total)
    _check_sum(offset, values, reached, tolerance)
    grouped = _smallest(values, top)
    bars = _bars(offset, values, tokens, grouped)
    name = "logit" if isinstance(explained, str) else "difference"
    bars.append(Bar(f"<i>{name}</i>", name, reached, start=0.0, end=reached, is_total=True))
    colours = look(theme)
    data: list[dict[str, Any]] = [
        {
            "type": "bar",
            "x": list(range(len(bars))),
            "y": [bar.value for bar in bars],
            "base": [bar.start for bar in bars],
            "width": BAR,
            "marker": {
                "color": [colours.total if bar.is_total else signed_colours([bar.value], theme)[0] for bar in bars],
                "line": {"width": 0},
            },
            "customdata": [bar.hover_text for bar in bars],
            "hovertemplate": "%{customdata}<extra></extra>",
            "name": "terms",
        },
        _connectors(bars, colours.muted),
    ]
    ends = [0.0, *(edge for bar in bars for edge in (bar.start, bar.end))]
    room = 0.08 * ((max(ends) - min(ends)) or 1.0)
    labels = [bar.label for bar in bars]
    title = "input token, in the order of the prompt"
    if grouped:
        title += f": the {len(tokens) - len(grouped)} largest terms of {len(tokens)}"
    layout = base_layout(theme, "waterfall", [*tokens, str(explained)], 400, labels) | {
        "xaxis": label_axis(theme, title, labels),
        "yaxis": value_axis(theme, logit_label(explained), range=[min(ends) - room, max(ends) + room]),
        "annotations": _numbers(bars, colours.text) if len(bars) <= VALUE_LABELS else [],
    }
    return Chart("waterfall", go.Figure(data=data, layout=layout), _table(offset, values, reached, tokens, grouped))


def _check_sum(bias: float, terms: np.ndarray, total: float, tolerance: float) -> None:
    parts = math.fsum([bias, *terms.tolist()])
    size = abs(bias) + float(np.abs(terms).sum()) + abs(total)
    if not abs(parts - total) <= tolerance * size:
        raise ValueError(
            f"The bias and the terms sum to {parts:.17g}, the logit is {total:.17g}: "
            f"they differ by more than {tolerance:g} of the sum of their sizes."
        )


def _smallest(terms: np.ndarray, top: int | None) -> set[int]:
    """The positions that share one bar: all but the `top` largest; one token alone is shown as itself."""
    if top is None or len(terms) <= top + 1:
        return set()
    return {int(i) for i in np.argsort(-np.abs(terms), kind="stable")[max(top, 0) :]}


def _bars(bias: float, terms: np.ndarray, tokens: Sequence[str], grouped: set[int]) -> list[Bar]:
    """The bars of the parts from left to right: bias, tokens in the order of the prompt, the others."""
    hover, labels = hover_tokens(tokens), token_labels(tokens)
    parts = [("<i>bias</i>", "bias term w·b", bias)]
    parts += [(labels[i], f"{hover[i]}  position {i}", float(terms[i])) for i in range(len(terms)) if i not in grouped]
    if grouped:
        others = f"{len(grouped)} other tokens"
        parts.append((f"<i>{others}</i>", others, math.fsum(float(terms[i]) for i in grouped)))
    reached = [0.0, *(math.fsum(value for _, _, value in parts[: i + 1]) for i in range(len(parts)))]
    return [Bar(*part, start=reached[i], end=reached[i + 1]) for i, part in enumerate(parts)]


def _connectors(bars: list[Bar], colour: str) -> dict[str, Any]:
    """Thin lines from the end of each bar to the start of the next."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for i, bar in enumerate(bars[:-1]):
        xs += [i + BAR / 2, i + 1 - BAR / 2, None]
        ys += [bar.end, bar.end, None]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": xs,
        "y": ys,
        "line": {"color": colour, "width": 1},
        "hoverinfo": "skip",
        "name": "running sum",
    }


def _numbers(bars: list[Bar], colour: str) -> list[dict[str, Any]]:
    """The terms in numbers, each beyond its bar's end."""
    return [
        {
            "x": i,
            "y": bar.end,
            "yanchor": "bottom" if bar.value >= 0 else "top",
            "text": bar.number,
            "showarrow": False,
            "font": {"size": 11, "color": colour, "family": MONO},
        }
        for i, bar in enumerate(bars)
    ]


def _table(
    bias: float, terms: np.ndarray, total: float, tokens: Sequence[str], grouped: set[int]
) -> dict[str, list[Any]]:
    """One row a part in the order of the prompt, with the sum up to and including it."""
    T = len(terms)
    parts = [bias, *terms.tolist()]
    return {
        "part": ["bias", *["token"] * T, "total"],
        "position": ["", *range(T), ""],
        "token": ["", *tokens, ""],
        "term": [*parts, total],
        "running_sum": [*(math.fsum(parts[: i + 1]) for i in range(T + 1)), total],
        "in_other_tokens": [False, *(i in grouped for i in range(T)), False],
    }
