"""The two panels of two runs beside each other: marks in A and in B in every row, and the steps from A to B."""

from collections.abc import Sequence
from typing import Any

from .compare_rows import NOTHING, Line, far_out
from .labels import printed
from .layout import BAR
from .palette import MONO, Theme, look, pair_colours, signed_colours

# How the two runs are marked on every chart, besides by colour: a large disc, and a diamond that leaves it in sight.
SHAPES = ({"symbol": "circle", "size": 11}, {"symbol": "diamond", "size": 8})
HAIRLINE = 0.003  # of the way's extent: a bar this thin is not seen


def marks(
    lines: Sequence[Line], names: Sequence[str], totals: tuple[float, float], theme: Theme
) -> list[dict[str, Any]]:
    """The left panel: a disc and a diamond in each row, joined; those of rows that are `far_out` are left out."""
    drawn = [(i, line) for i, line in enumerate(lines, 1) if i - 1 not in far_out(lines)]
    joined = [(i, x) for i, line in drawn if None not in (line.a, line.b) for x in (line.a, line.b, None)]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [x for _, x in joined],
            "y": [i for i, _ in joined],
            "line": {"color": look(theme).muted, "width": 2},
            "hoverinfo": "skip",
            "showlegend": False,
            "name": "from A to B",
        }
    ]
    for run, (name, total) in enumerate(zip(names, totals, strict=True)):
        own = [(i, x, line.hover) for i, line in drawn if (x := (line.a, line.b)[run]) is not None]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [x for _, x, _ in own],
                "y": [i for i, _, _ in own],
                "marker": mark(run, theme),
                "customdata": [hover for _, _, hover in own],
                "hovertemplate": "%{customdata}<extra></extra>",
                "name": f"{name} = {printed(total)}",
                "cliponaxis": False,
            }
        )
    return traces


def beyond(lines: Sequence[Line], colour: str) -> list[dict[str, Any]]:
    """What rows that are `far_out` are in numbers, at the end of the left axis that they are beyond."""
    said = []
    for i in sorted(far_out(lines)):
        line = lines[i]
        text = " → ".join(NOTHING if x is None else printed(x) for x in (line.a, line.b))
        above = max((line.a or 0.0, line.b or 0.0), key=abs) > 0
        said.append(
            {
                "xref": "x domain",
                "x": 1 if above else 0,
                "xanchor": "right" if above else "left",
                "y": i + 1,
                "text": f"{text} ▸" if above else f"◂ {text}",
                "hovertext": line.hover,
                "showarrow": False,
                "font": {"size": 11, "color": colour, "family": MONO},
            }
        )
    return said


def steps(
    lines: Sequence[Line], reached: Sequence[float], totals: tuple[float, float], middle: float, theme: Theme
) -> list[dict[str, Any]]:
    """The right panel: a bar for each change, from where the ones above it have led, between the two totals.

    The number of a total stands on the side that is nearer to the `middle` of the axis.
    """
    colours = look(theme)
    number = {"family": MONO, "size": 11, "color": colours.text}
    axes = {"xaxis": "x2", "yaxis": "y2", "showlegend": False}
    count = len(lines)
    seen = HAIRLINE * (max(reached) - min(reached))

    def edge(row: int) -> float:
        """How far a row's bar reaches above and below its middle; a line goes through one too thin to be seen."""
        return BAR / 2 if 1 <= row <= count and abs(lines[row - 1].change) > seen else 0.0

    xs: list[float | None] = []
    ys: list[float | None] = []
    for i, x in enumerate(reached):
        xs, ys = [*xs, x, x, None], [*ys, i + edge(i), i + 1 - edge(i + 1), None]
    traces: list[dict[str, Any]] = [
        axes
        | {"type": "scatter", "mode": "lines", "x": xs, "y": ys, "line": {"color": colours.muted, "width": 1}}
        | {"hoverinfo": "skip", "name": "so far"},
        axes
        | {
            "type": "bar",
            "orientation": "h",
            "x": [line.change for line in lines],
            "y": list(range(1, count + 1)),
            "base": list(reached[:-1]),
            "width": BAR,
            "marker": {
                "color": [signed_colours([line.change], theme)[0] if line.is_step else colours.total for line in lines],
                "line": {"width": 0},
            },
            "text": [printed(line.change, signed=True) for line in lines],
            "textposition": "outside",
            "textangle": 0,
            "constraintext": "none",
            "textfont": number,
            "cliponaxis": False,
            "customdata": [f"{line.hover}<br>so far {printed(x)}" for line, x in zip(lines, reached[1:], strict=True)],
            "hovertemplate": "%{customdata}<extra></extra>",
            "name": "change",
        },
    ]
    for run, total in enumerate(totals):
        traces.append(
            axes
            | {
                "type": "scatter",
                "mode": "markers+text",
                "x": [total],
                "y": [(count + 1) * run],
                "marker": mark(run, theme),
                "text": [printed(total)],
                "textposition": "middle right" if total < middle else "middle left",
                "textfont": number,
                "cliponaxis": False,
                "customdata": [f"total of {'AB'[run]} {printed(total)}"],
                "hovertemplate": "%{customdata}<extra></extra>",
                "name": f"total of {'AB'[run]}",
            }
        )
    return traces


def mark(run: int, theme: Theme) -> dict[str, Any]:
    """The marker of run A (0) or B (1), in an outline that sets it off."""
    outline = {"width": 1, "color": look(theme).background}
    return SHAPES[run] | {"color": pair_colours(theme)[run], "line": outline}
