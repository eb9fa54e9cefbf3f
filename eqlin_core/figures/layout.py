"""What all figures share: the layout of a theme, the axis that runs over tokens, and value axes."""

import math
import re
import zlib
from collections.abc import Sequence
from html import unescape
from typing import Any

import numpy as np

from .labels import token_label
from .palette import MONO, SANS, Theme, look

ALL_LABELS = 48  # up to so many tokens every one is named; beyond, Plotly names as many as the zoom leaves room for
LABEL_WIDTH, NARROW_LABEL = 16, 12  # characters of a token on an axis: of a few tokens, of many
FEW = 16
CHARACTER = 7.3  # pixels of a monospace character of size 12
HOVER_WIDTH = 60  # and in hover text
FEWEST_SLOTS = 6
BAR = 0.72  # width of a bar in slots
EVEN_TICKS = 0.7  # decades up to which the ticks of a logarithmic axis are evenly spaced
SMALL_PANEL = 1.8  # decades that a panel of a hundred pixels or two has room for, ticks at 1, 2 and 5


def base_layout(
    theme: Theme, name: str, tokens: Sequence[str], height: int, labels: Sequence[str] = ()
) -> dict[str, Any]:
    """The layout of a theme, on its background so that a saved picture is complete.

    The zoom is kept as long as the chart shows the same tokens.
    `labels` are those of an x axis: where they will be rotated the figure is as much higher.
    """
    colours = look(theme)
    return {
        "height": height + _label_room(labels),
        "paper_bgcolor": colours.background,
        "plot_bgcolor": colours.background,
        "font": {"family": SANS, "size": 13, "color": colours.text},
        "margin": {"l": 64, "r": 16, "t": 28, "b": 12},
        "hoverlabel": {
            "bgcolor": colours.background,
            "bordercolor": colours.muted,
            "font": {"family": MONO, "size": 12, "color": colours.text},
            "align": "left",
            "namelength": -1,
        },
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": colours.muted, "activecolor": colours.accent},
        "template": "none",  # Plotly's own would bring its colours and 7 kB into every figure
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": "zoom",
        "uirevision": f"{name}:{zlib.crc32(repr(list(tokens)).encode('utf-8', 'backslashreplace')):08x}",
    }


def token_axis(theme: Theme, tokens: Sequence[str], first: int = 0, **changes: Any) -> dict[str, Any]:
    """An x axis over token positions: x is the index, so repeated tokens stay apart; the labels are the tokens.

    `first` is the position of the first of them in the prompt.
    """
    labels = token_labels(tokens)
    if len(tokens) <= ALL_LABELS:
        return label_axis(theme, "input token, in the order of the prompt", labels, **changes)
    labels = [f"{i} {label}" for i, label in enumerate(labels, first)]
    return label_axis(theme, "position and input token", labels, **changes)


def label_axis(theme: Theme, title: str, labels: Sequence[str], **changes: Any) -> dict[str, Any]:
    """An x axis with a label at each of 0, 1, 2, ...: all of them while they fit, then as many as fit at any zoom."""
    count = len(labels)
    first, last = slots(0, count - 1)
    axis = value_axis(theme, title) | {
        "range": [first, last],
        "minallowed": first,
        "maxallowed": last,
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
        "tickfont": {"family": MONO, "size": 12, "color": look(theme).text},
    }
    if count <= ALL_LABELS:
        axis |= {"tickmode": "array", "tickvals": list(range(count)), "ticktext": list(labels)}
        axis |= {"autotickangles": [0, -40, -90]}
    else:
        between = {f"{i + 0.5:g}": " " for i in range(count)}  # ticks of a deep zoom
        aliases = {str(i): label for i, label in enumerate(labels)}
        axis |= {"tickmode": "auto", "nticks": 40, "labelalias": aliases | between, "tickangle": -90}
        axis |= {"ticks": "outside"}
    return axis | changes


def token_labels(tokens: Sequence[str]) -> list[str]:
    """The tokens as labels of an axis, shorter where there are many."""
    return [token_label(token, LABEL_WIDTH if len(tokens) <= FEW else NARROW_LABEL) for token in tokens]


def _label_room(labels: Sequence[str]) -> int:
    """The pixels that rotated labels need below the axis, on a figure about 900 pixels wide."""
    lengths = [len(unescape(re.sub("<.*?>", "", label))) for label in labels]
    if sum(lengths) * CHARACTER < 700:
        return 0
    slope = 0.64 if len(lengths) <= ALL_LABELS else 1.0  # sine of the 40 degrees of label_axis, else upright
    return round(slope * CHARACTER * max(lengths))


def slots(first: int, last: int) -> tuple[float, float]:
    """The ends of an x axis with a bar at each integer from first to last; a few bars keep a bar's usual width."""
    spare = max(0.0, (FEWEST_SLOTS - (last - first + 1)) / 2)
    return first - 0.6 - spare, last + 0.6 + spare


def value_axis(theme: Theme, title: str, **changes: Any) -> dict[str, Any]:
    """An axis of numbers with its title, a faint grid, and the zero line a little stronger."""
    colours = look(theme)
    return {
        "title": {"text": title, "font": {"size": 13, "color": colours.muted}, "standoff": 10},
        "tickfont": {"size": 12, "color": colours.muted},
        "gridcolor": colours.grid,
        "zerolinecolor": colours.muted,
        "zerolinewidth": 1,
        "linecolor": colours.muted,
        "tickcolor": colours.muted,
        "automargin": True,
        "exponentformat": "power",
    } | changes


def log_axis(values: np.ndarray, *, decades: float = 3.0) -> dict[str, Any]:
    """A logarithmic axis of these values, every tick labelled with its whole number, never with its last digit alone.

    Ticks are at 1, 2 and 5 of every power of ten up to so many `decades`, which have room for them, beyond at powers of
    ten alone, as many as have room; within few of them they are evenly spaced.
    """
    positive = values[np.isfinite(values) & (values > 0)]
    least, most = (float(positive.min()), float(positive.max())) if positive.size else (1.0, 1.0)
    span = math.log10(most) - math.log10(least)
    plain = least > 1e-4 and most < 1e6
    axis: dict[str, Any] = {"type": "log", "exponentformat": "none" if plain else "power"}
    if span < EVEN_TICKS:
        return axis | {"nticks": 6, "tickformat": "~g" if plain else "~e"}
    if span <= decades:
        return axis | {"dtick": "D2", "tickformat": "~g" if plain else "~e"}
    return axis | {"dtick": math.ceil(span / (2 * decades))}


def legend_above(theme: Theme) -> dict[str, Any]:
    """A legend in one line above the plot."""
    font = {"size": 12, "color": look(theme).text}
    return {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": font, "bgcolor": "rgba(0,0,0,0)"}


def colour_bar(theme: Theme, title: str) -> dict[str, Any]:
    """The slim bar that explains a colour scale."""
    colours = look(theme)
    return {
        "title": {"text": title, "side": "top", "font": {"size": 12, "color": colours.muted}},
        "thickness": 12,
        "outlinewidth": 0,
        "tickfont": {"size": 11, "color": colours.muted},
        "exponentformat": "power",
        "x": 1.01,
    }


def hover_tokens(tokens: Sequence[str]) -> list[str]:
    """Tokens for hover text: longer than on an axis."""
    return [token_label(token, HOVER_WIDTH) for token in tokens]
