"""A chart in a report: its figure in both themes as JSON, a text for those who do not see it, and its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from html import escape
from typing import Any

import numpy as np

from eqlin_core.figures import Chart, Theme, visible_token
from eqlin_core.reports.proof import as_json

# Rows of the table under a chart; longer ones stay in the run itself.
MOST_ROWS = 400


def chart_html(name: str, draw: Callable[[Theme], Chart], said: str) -> str:
    """The chart under this name with ``said``, a sentence that is its text alternative and its caption."""
    light, dark = draw("light"), draw("dark")
    figure = plain(light.figure.to_dict())
    spec = {"figure": figure, "dark": differences(figure, plain(dark.figure.to_dict())), "config": light.config("svg")}
    height = int(figure["layout"]["height"])
    return (
        f'<figure><div class="chart" id="chart-{name}" role="img" aria-label="{escape(said)}" '
        f'style="min-height:{height}px"></div>\n'
        f'<script type="application/json" id="spec-{name}">{as_json(spec)}</script>\n'
        f"<figcaption>{escape(said)}</figcaption>{_numbers(light)}</figure>\n"
    )


def plain(value: Any) -> Any:
    """A figure's dictionary as JSON can hold it: arrays, and those that Plotly has packed, as lists; NaN as null."""
    if isinstance(value, dict):
        if set(value) in ({"dtype", "bdata"}, {"dtype", "bdata", "shape"}):
            return plain(_unpacked(value))
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def differences(light: Any, dark: Any, way: tuple[str | int, ...] = ()) -> list[list[Any]]:
    """[way, value] of everything in which the second structure differs from the first, which has the same shape."""
    if isinstance(light, dict) and isinstance(dark, dict) and light.keys() == dark.keys():
        return [found for key in light for found in differences(light[key], dark[key], (*way, key))]
    if isinstance(light, list) and isinstance(dark, list) and len(light) == len(dark):
        pairs = zip(light, dark, strict=True)
        return [found for i, (a, b) in enumerate(pairs) for found in differences(a, b, (*way, i))]
    return [] if light == dark else [[list(way), dark]]


def table_html(
    header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", *, numeric: Collection[int] = ()
) -> str:
    """A table of plain texts; the columns ``numeric`` stand at the right."""
    head = "".join(f'<th scope="col"{_right(i in numeric)}>{escape(text)}</th>' for i, text in enumerate(header))
    body = "".join(
        "<tr>" + "".join(f"<td{_right(i in numeric)}>{escape(text)}</td>" for i, text in enumerate(row)) + "</tr>"
        for row in rows
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{said}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>\n'


def _right(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _unpacked(packed: dict[str, Any]) -> np.ndarray:
    import base64  # noqa: PLC0415

    flat = np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"])
    return flat.reshape([int(size) for size in str(packed["shape"]).split(",")]) if "shape" in packed else flat


def _numbers(chart: Chart) -> str:
    columns = list(chart.table.values())
    count = len(columns[0]) if columns else 0
    if not 0 < count <= MOST_ROWS:
        return ""
    rows = [[_cell(value) for value in row] for row in zip(*columns, strict=True)]
    header = [name.replace("_", " ") for name in chart.table]
    table = table_html(header, rows, numeric=[i for i, column in enumerate(columns) if _are_numbers(column)])
    return f"<details><summary>The numbers in this chart</summary>{table}</details>"


def _are_numbers(column: Sequence[Any]) -> bool:
    there = [value for value in column if not (isinstance(value, str) and value == "")]
    return bool(there) and all(isinstance(value, float | int) and not isinstance(value, bool) for value in there)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return visible_token(value) if isinstance(value, str) and value else str(value)
