"""The curves of a prediction while tokens are deleted, or kept, in the order of scores: one line a method."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from .chart import Chart, in_any_theme
from .labels import printed, text_label
from .layout import base_layout, value_axis
from .palette import Theme, kind_colours, look

RANDOM = "random"  # the method that others are compared with
DASHES = ("solid", "dash", "dashdot", "longdash")  # of lines whose colours come again
MARKED = 25  # points up to which each one has a marker
NAME_WIDTH, CHARACTER, LINE = 28, 6.6, 17  # a label: at most so many characters; pixels of one, and of a line of text
HEIGHT, PLOT = 400, 310  # pixels of the figure, and about so many of them between the ends of its y axis


@in_any_theme
def deletion_curves(
    curves: Mapping[str, Float[np.ndarray, " points"]],
    points: Sequence[int] | Int[np.ndarray, " points"],
    *,
    measure: str,
    kind: Literal["deletion", "insertion"],
    theme: Theme = "light",
) -> Chart:
    """The measure while more and more tokens are deleted, or kept, in the order of each method's scores.

    `points` are the numbers of tokens; the first method stands out, and "random" is dotted. NaN leaves a gap. Raises
    ValueError without a method, where the numbers of points differ, and for another kind.
    """
    done = {"deletion": "deleted", "insertion": "kept"}.get(kind)
    if done is None:
        raise ValueError(f'kind is "deletion" or "insertion", not {kind!r}.')
    counts = [int(k) for k in points]
    lines = {name: np.asarray(values, dtype=np.float64) for name, values in curves.items()}
    if not lines or not counts:
        raise ValueError("There are no curves: at least one method and one point are drawn.")
    if wrong := [name for name, values in lines.items() if len(values) != len(counts)]:
        raise ValueError(f"{len(lines[wrong[0]])} values of {wrong[0]!r} for {len(counts)} points.")
    what = text_label(measure)
    colours, dashes = _styles(list(lines), theme)
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers" if len(counts) <= MARKED else "lines",
            "x": counts,
            "y": values.tolist(),
            "line": {"color": colours[name], "width": 2.5 if i == 0 else 1.75, "dash": dashes[name]},
            "marker": {"color": colours[name], "size": 6 if i == 0 else 5},
            "customdata": [
                f"{text_label(name)}<br>{k} {'token' if k == 1 else 'tokens'} {done}<br>{what} {printed(v)}"
                for k, v in zip(counts, values, strict=True)
            ],
            "hovertemplate": "%{customdata}<extra></extra>",
            "name": text_label(name),
        }
        for i, (name, values) in enumerate(lines.items())
    ]
    data.reverse()  # the first method lies on top
    finite = np.concatenate([values[np.isfinite(values)] for values in lines.values()])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    room = 0.06 * ((high - low) or 1.0)
    low, high = low - room, high + room
    longest = max(min(len(name), NAME_WIDTH) for name in lines)
    side = 0.03 * ((max(counts) - min(counts)) or 1)
    integers = {"tickformat": "d", "dtick": 1 if max(counts) - min(counts) <= 15 else None}
    seen = [*lines, measure, kind, str(counts)]
    layout = base_layout(theme, "deletion-curves", seen, HEIGHT) | {
        "margin": {"l": 64, "r": round(CHARACTER * longest) + 40, "t": 28, "b": 12},
        "xaxis": value_axis(theme, f"tokens {done}, those of the highest score first", zeroline=False, **integers)
        | {"range": [min(counts) - side, max(counts) + side]},
        "yaxis": value_axis(theme, what, range=[low, high]),
        "annotations": _line_ends(lines, counts, colours, high - low, theme),
    }
    table: dict[str, list[Any]] = {
        "method": [name for name in lines for _ in counts],
        "tokens": counts * len(lines),
        "value": [float(v) for values in lines.values() for v in values],
    }
    return Chart(f"{kind}-curves", go.Figure(data=data, layout=layout), table)


def _styles(names: list[str], theme: Theme) -> tuple[dict[str, str], dict[str, str]]:
    """The colours of the lines and their dashes, by name; the random method is muted and dotted."""
    others = [name for name in names if name != RANDOM]
    shades = kind_colours(others, theme)
    again = len(look(theme).kinds)  # lines after the first, then their colours come again
    colours = dict(zip(others, shades, strict=True)) | {RANDOM: look(theme).muted}
    dashes = {name: DASHES[max(i - 1, 0) // again % len(DASHES)] for i, name in enumerate(others)} | {RANDOM: "dot"}
    return colours, dashes


def _line_ends(
    lines: Mapping[str, np.ndarray], counts: list[int], colours: Mapping[str, str], span: float, theme: Theme
) -> list[dict[str, Any]]:
    """The name of each line at its end, moved up or down as far as names would lie over one another."""
    ends = []
    for name, values in lines.items():
        there = np.flatnonzero(np.isfinite(values))
        if there.size:
            ends.append((name, counts[there[-1]], float(values[there[-1]])))
    ends.sort(key=lambda end: end[2])
    wanted = [PLOT * end[2] / span for end in ends]  # heights in pixels
    return [
        {
            "x": x,
            "y": y,
            "ax": 22,
            "ay": wanted[i] - height,
            "text": text_label(name, NAME_WIDTH),
            "xanchor": "left",
            "align": "left",
            "showarrow": True,
            "arrowhead": 0,
            "arrowwidth": 1.25,
            "arrowcolor": colours[name],
            "standoff": 4,
            "font": {"size": 12, "color": look(theme).text},
        }
        for i, ((name, x, y), height) in enumerate(zip(ends, _spread(wanted, LINE), strict=True))
    ]


def _spread(heights: list[float], least: int) -> list[float]:
    """The rising heights, at least so far from one another, each group that is moved centred where it was."""
    groups: list[list[float]] = []  # [sum of (height - place in the group), members]
    for height in heights:
        groups.append([height, 1])
        while len(groups) > 1:
            (low, n), (high, m) = groups[-2:]
            below, above = low / n, high / m  # where each group begins
            if above >= below + n * least:
                break
            groups[-2:] = [[low + high - m * n * least, n + m]]
    return [total / n + i * least for total, n in groups for i in range(int(n))]
