"""Charts of one token's matrix: its heat map with the spectrum inset, and the norms of its columns and rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .labels import printed, token_label
from .layout import base_layout, colour_bar, value_axis
from .palette import MONO, Theme, diverging_scale, look

HEIGHT = 470
HANDLES = 40  # a side, of the invisible points that a box is drawn over
INSET = ((0.66, 0.985), (0.7, 0.965))  # of the plotting area, in x and y
NAMED = 4  # of the largest columns and rows, those whose index is printed beside the marker


@in_any_theme
def matrix_heatmap(
    cells: Float[np.ndarray, "m n"],
    *,
    token: str,
    position: int,
    limit: float,
    rows: tuple[int, int],
    columns: tuple[int, int],
    block: tuple[int, int] = (1, 1),
    sigma: Float[np.ndarray, " k"] | None = None,
    theme: Theme = "light",
) -> Chart:
    """The entries of J_i between these rows and columns; a cell stands for a block of so many rows and columns.

    Colours run from -limit to limit. `sigma` are the singular values that are drawn in the corner. Invisible points lie
    over the cells, so that a box can be selected.
    """
    values = np.asarray(cells)
    y, x = (_centres(*ends, size) for ends, size in zip((rows, columns), block, strict=True))
    if values.shape != (len(y), len(x)):
        raise ValueError(f"{values.shape} cells for {len(y)} blocks of rows and {len(x)} of columns.")
    if not limit > 0:
        raise ValueError(f"The limit of the colours is above zero, not {limit}.")
    largest = float(np.abs(values).max(initial=0.0))
    title = "entry of Jᵢ" if block == (1, 1) else "largest entry<br>of the block"
    if largest > limit:
        title += f"<br>(colours end<br>at ±{printed(limit)})"
    where = "row %{y:.0f}, column %{x:.0f}" if block == (1, 1) else "around row %{y:.0f}, column %{x:.0f}"
    data: list[dict[str, Any]] = [
        {
            "type": "heatmap",
            "z": values,
            "x": x,
            "y": y,
            "zmin": -limit,
            "zmax": limit,
            "colorscale": diverging_scale(theme),
            "hovertemplate": f"{where}<br>%{{z:.3g}}<extra></extra>",
            "colorbar": colour_bar(theme, title),
            "name": "matrix",
        },
        _handles(rows, columns),
    ]
    spectrum = np.asarray([] if sigma is None else sigma, dtype=np.float64)
    spectrum = spectrum[spectrum > 0]
    if spectrum.size:
        data.append(_inset_line(spectrum, theme))
    seen = [token, str(position), str(rows), str(columns)]
    layout = base_layout(theme, "matrix", seen, HEIGHT) | {
        "dragmode": "select",
        "selectdirection": "any",
        "margin": {"l": 64, "r": 16, "t": 28, "b": 52},
        "xaxis": value_axis(theme, "column: input dimension", **_ends(*columns)),
        "yaxis": value_axis(theme, "row: output dimension", **_ends(*rows, downwards=True)),
        **(_inset_axes(spectrum, theme) if spectrum.size else {}),
    }
    table: dict[str, Any] = {
        "row": np.repeat(y, len(x)).tolist(),
        "column": np.tile(x, len(y)).tolist(),
        "value": values.ravel().tolist(),
    }
    return Chart("matrix", go.Figure(data=data, layout=layout), table)


@in_any_theme
def line_norms(
    columns: Float[np.ndarray, " d_in"],
    rows: Float[np.ndarray, " d_out"],
    *,
    largest_columns: Sequence[int] = (),
    largest_rows: Sequence[int] = (),
    token: str,
    position: int,
    theme: Theme = "light",
) -> Chart:
    """The norm of every column of J_i, and below of every row; the largest are marked, their indices printed."""
    colours = look(theme)
    data: list[dict[str, Any]] = []
    kinds = (("column", columns, largest_columns), ("row", rows, largest_rows))
    for number, (kind, norms, marked) in enumerate(kinds):
        values = np.asarray(norms, dtype=np.float64)
        shared = {"type": "scatter", "xaxis": f"x{number + 1}", "yaxis": f"y{number + 1}", "name": kind}
        hover = f"{kind} %{{x:d}}<br>norm %{{y:.3g}}<extra></extra>"
        line = {"mode": "lines", "line": {"color": colours.muted, "width": 1}, "hovertemplate": hover}
        data.append(shared | line | {"x": np.arange(len(values)), "y": values})
        data.append(
            shared
            | {
                "mode": "markers+text",
                "x": list(marked),
                "y": values[list(marked)],
                "marker": {"color": colours.accent, "size": 6},
                "text": _indices(marked, len(values)),
                "textposition": "top center",
                "textfont": {"family": MONO, "size": 11, "color": colours.text},
                "cliponaxis": False,
                "hovertemplate": hover,
            }
        )
    name = token_label(token)
    layout = base_layout(theme, "line-norms", [token, str(position)], HEIGHT) | {
        "xaxis": value_axis(theme, f"column j of {name}: input dimension", anchor="y", zeroline=False),
        "yaxis": value_axis(theme, "column norm", domain=[0.62, 1.0], rangemode="tozero"),
        "xaxis2": value_axis(theme, f"row j of {name}: output dimension", anchor="y2", zeroline=False),
        "yaxis2": value_axis(theme, "row norm", domain=[0.0, 0.38], rangemode="tozero"),
    }
    table: dict[str, Any] = {
        "line": [kind for kind, norms, _ in kinds for _ in norms],
        "index": [i for _, norms, _ in kinds for i in range(len(norms))],
        "norm": [float(v) for _, norms, _ in kinds for v in norms],
    }
    return Chart("line-norms", go.Figure(data=data, layout=layout), table)


def _centres(first: int, last: int, size: int) -> np.ndarray:
    """The middle index of every block from first up to, not including, last."""
    starts = np.arange(first, last, size)
    return (starts + np.minimum(starts + size, last) - 1) / 2


def _handles(rows: tuple[int, int], columns: tuple[int, int]) -> dict[str, Any]:
    """Invisible points over the cells: a browser reports a drawn box only where there are points to select."""
    y, x = (np.linspace(first, last - 1, min(HANDLES, last - first)) for first, last in (rows, columns))
    return {
        "type": "scatter",
        "mode": "markers",
        "x": np.tile(x, len(y)),
        "y": np.repeat(y, len(x)),
        "marker": {"size": 4, "opacity": 0},
        "selected": {"marker": {"opacity": 0}},
        "unselected": {"marker": {"opacity": 0}},
        "hoverinfo": "skip",
        "name": "handles",
    }


def _indices(marked: Sequence[int], size: int) -> list[str]:
    """The index beside each of the first NAMED markers, unless it would lie on that of a larger one."""
    named: list[int] = []
    for i in marked[:NAMED]:
        if all(abs(i - other) > size / 16 for other in named):
            named.append(i)
    return [str(i) if i in named else "" for i in marked]


def _ends(first: int, last: int, *, downwards: bool = False) -> dict[str, Any]:
    """The range of an axis over the indices from first up to, not including, last."""
    ends = [last - 0.5, first - 0.5] if downwards else [first - 0.5, last - 0.5]
    return {"range": ends, "showgrid": False, "zeroline": False, "constrain": "domain"}


def _inset_line(sigma: np.ndarray, theme: Theme) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": np.arange(1, len(sigma) + 1),
        "y": sigma,
        "xaxis": "x2",
        "yaxis": "y2",
        "line": {"color": look(theme).text, "width": 1.25},
        "marker": {"color": look(theme).text, "size": 3},
        "hovertemplate": "k = %{x}<br>σₖ %{y:.3g}<extra></extra>",
        "name": "spectrum",
    }


def _inset_axes(sigma: np.ndarray, theme: Theme) -> dict[str, Any]:
    """Both axes with a tick at either end only, the numbers within the frame."""
    colours = look(theme)
    small = {"size": 10, "color": colours.text}
    shared = {"showline": True, "mirror": True, "linecolor": colours.muted, "zeroline": False, "showgrid": False}
    shared |= {"automargin": False, "tickfont": small, "ticks": "", "ticklabelposition": "inside", "fixedrange": True}
    first, last = float(sigma[0]), float(sigma[-1])
    ends = [first, last] if first > 1.05 * last else [first]
    room = 0.08 * max(np.log10(first / last), 0.5)

    def axis(title: str, ticks: list[Any], text: list[str], **changes: Any) -> dict[str, Any]:
        ticked = {"tickmode": "array", "tickvals": ticks, "ticktext": text}
        return value_axis(theme, title, **shared, **ticked, **changes) | {
            "title": {"text": title, "font": small, "standoff": 2}
        }

    k, margin = len(sigma), 0.08 * len(sigma)  # at the left more, where the numbers of the y axis are
    return {
        "xaxis2": axis("k", [1, k], ["1", str(k)], domain=INSET[0], anchor="y2", range=[1 - 4 * margin, k + margin]),
        "yaxis2": axis(
            "σₖ",
            ends,
            [printed(end) for end in ends],
            domain=INSET[1],
            anchor="x2",
            type="log",
            range=[np.log10(last) - 2 * room, np.log10(first) + room],
        ),
    }
