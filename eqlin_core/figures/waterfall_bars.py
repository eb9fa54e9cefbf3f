"""The bars of the waterfall: what each stands for, where it begins and ends, and how bars are drawn."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .labels import printed
from .layout import BAR, hover_tokens, token_labels
from .palette import MONO, Theme, look, signed_colours

DIFFERS = "sign or rank differs in another exact map"  # what hatching says
CUT = "the axis is cut: it does not begin at zero"


@dataclass(frozen=True)
class Bar:
    """One bar of the waterfall, from the running sum before it to the one after it."""

    label: str
    hover: str
    value: float
    start: float
    end: float
    is_total: bool = False
    is_hatched: bool = False

    @property
    def is_cut(self) -> bool:
        """Whether it is a total that does not begin at zero."""
        return self.is_total and self.start != 0

    @property
    def number(self) -> str:
        """The value as it is printed at the bar, a term with its sign."""
        return printed(self.value, signed=not self.is_total)

    @property
    def hover_text(self) -> str:
        """What is said under the pointer."""
        if self.is_total:
            return f"{self.hover} {self.number}" + (f"<br>{CUT}" if self.is_cut else "")
        text = f"{self.hover}<br>term {self.number}<br>sum so far {printed(self.end)}"
        return text + (f"<br>{DIFFERS}" if self.is_hatched else "")


def smallest(terms: np.ndarray, top: int | None, *, first_apart: bool = False) -> set[int]:
    """The positions that share one bar: all but the `top` largest; one token alone is shown as itself.

    With `first_apart` the first is neither counted nor among them.
    """
    sizes = np.abs(terms[1:] if first_apart else terms)
    if top is None or len(sizes) <= top + 1:
        return set()
    return {int(i) + first_apart for i in np.argsort(-sizes, kind="stable")[max(top, 0) :]}


def bars_of_parts(
    bias: float, terms: np.ndarray, tokens: Sequence[str], grouped: set[int], hatched: Collection[int] = ()
) -> list[Bar]:
    """The bars of the parts from left to right: bias, tokens in the order of the prompt, the others."""
    hover, labels = hover_tokens(tokens), token_labels(tokens)
    parts = [("<i>bias</i>", "bias term w·b", bias, False)]
    parts += [
        (labels[i], f"{hover[i]}  position {i}", float(terms[i]), i in hatched)
        for i in range(len(terms))
        if i not in grouped
    ]
    if grouped:
        others = f"{len(grouped)} other tokens"
        parts.append((f"<i>{others}</i>", others, math.fsum(float(terms[i]) for i in grouped), False))
    reached = [0.0, *(math.fsum(part[2] for part in parts[: i + 1]) for i in range(len(parts)))]
    return [
        Bar(label, said, value, start=reached[i], end=reached[i + 1], is_hatched=differs)
        for i, (label, said, value, differs) in enumerate(parts)
    ]


def bar_trace(bars: list[Bar], theme: Theme, *, hatching: bool = False) -> dict[str, Any]:
    """The bars at 0, 1, 2, ...; `hatching` where some bar of the figure is hatched."""
    colours = look(theme)
    marker: dict[str, Any] = {
        "color": [colours.total if bar.is_total else signed_colours([bar.value], theme)[0] for bar in bars],
        "line": {"width": 0},
    }
    if hatching:
        shapes = ["/" if bar.is_hatched else "" for bar in bars]
        marker["pattern"] = {"shape": shapes, "fillmode": "overlay", "fgcolor": colours.background, "solidity": 0.3}
    return {
        "type": "bar",
        "x": list(range(len(bars))),
        "y": [bar.end - bar.start if bar.is_cut else bar.value for bar in bars],
        "base": [bar.start for bar in bars],
        "width": BAR,
        "marker": marker,
        "customdata": [bar.hover_text for bar in bars],
        "hovertemplate": "%{customdata}<extra></extra>",
        "name": "terms",
    }


def connectors(
    bars: list[Bar], colour: str, *, from_left: float | None = None, to_right: float | None = None
) -> dict[str, Any]:
    """Thin lines from the end of each bar to the start of the next, and those from or to another panel."""
    xs: list[float | None] = [] if from_left is None else [from_left, -BAR / 2, None]
    ys: list[float | None] = [] if from_left is None else [bars[0].start, bars[0].start, None]
    for i, bar in enumerate(bars[:-1]):
        xs += [i + BAR / 2, i + 1 - BAR / 2, None]
        ys += [bar.end, bar.end, None]
    if to_right is not None:
        xs += [len(bars) - 1 + BAR / 2, to_right]
        ys += [bars[-1].end] * 2
    return {
        "type": "scatter",
        "mode": "lines",
        "x": xs,
        "y": ys,
        "line": {"color": colour, "width": 1},
        "hoverinfo": "skip",
        "name": "running sum",
    }


def numbers(bars: list[Bar], colour: str, **axes: str) -> list[dict[str, Any]]:
    """The terms in numbers, each beyond its bar's end."""
    return [
        axes
        | {
            "x": i,
            "y": bar.end,
            "yanchor": "bottom" if bar.value >= 0 else "top",
            "text": bar.number,
            "showarrow": False,
            "font": {"size": 11, "color": colour, "family": MONO},
        }
        for i, bar in enumerate(bars)
    ]


def value_range(values: Sequence[float]) -> list[float]:
    """The ends of an axis that shows all values with some room."""
    room = 0.08 * ((max(values) - min(values)) or 1.0)
    return [min(values) - room, max(values) + room]


def cut_mark(x: int, colour: str, *, at_top: bool) -> dict[str, Any]:
    """A slanted gap through the bar at x, near that end of the plot where the axis is cut."""
    heights = [0.035, 0.065, 0.085, 0.055]
    a, b, c, d = [1 - h for h in heights] if at_top else heights
    left, right = x - 0.45, x + 0.45
    return {
        "type": "path",
        "path": f"M {left},{a} L {right},{b} L {right},{c} L {left},{d} Z",
        "yref": "y domain",
        "fillcolor": colour,
        "line": {"width": 0},
    }
