"""The main chart of two runs, A and B: every term of both, and the way from A's total to B's through what changed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .compare_panels import beyond, marks, steps
from .compare_rows import NOTHING, Line, far_out, lines_of_parts, positions
from .labels import Explained, logit_label
from .layout import base_layout, legend_above, value_axis
from .palette import MONO, Theme, look
from .waterfall_bars import smallest

ROW_HEIGHT, LINE = 25, 17  # pixels of a row, and of a line of the axis title
LEFT, RIGHT = [0.0, 0.42], [0.46, 1.0]  # of the figure's width: the terms, the way from A to B
ROUNDING_SEEN = 0.01  # of the way's extent, from where on rounding has a row of its own
ROOM = 0.2  # of the way's extent, for the numbers beyond its bars

Tokens = Sequence[tuple[str | None, str | None]]


@in_any_theme
def compared_terms(
    terms_a: Float[np.ndarray, " rows"],
    terms_b: Float[np.ndarray, " rows"],
    tokens: Tokens,
    *,
    constants: tuple[float, float],
    totals: tuple[float, float],
    explained: tuple[Explained, Explained],
    top: int | None = 24,
    bound: float | None = None,
    theme: Theme = "light",
) -> Chart:
    """At the left every aligned token's term in A and in B; at the right its change, on the way from A's total to B's.

    `tokens` are the aligned tokens, in A and in B, None where one has none; its term is NaN there, and adds nothing.
    `explained` is what the totals are of, each as in `waterfall`. Of more than `top` rows those that change least share
    one row, so that all still sum exactly; the table always has every term. Raises ValueError where the changes miss
    that of the totals by more than `bound`, by default a millionth of the sum of all sizes; where numbers of terms and
    tokens differ, and where a term is NaN and its token is there.
    """
    terms = np.asarray(terms_a, dtype=np.float64), np.asarray(terms_b, dtype=np.float64)
    if not 0 < len(terms[0]) == len(terms[1]) == len(tokens):
        raise ValueError(f"{len(terms[0])} and {len(terms[1])} terms for {len(tokens)} aligned tokens.")
    for name, values, there in zip("AB", terms, zip(*tokens, strict=True), strict=True):
        if wrong := [i for i, token in enumerate(there) if (token is None) != math.isnan(values[i])]:
            raise ValueError(f"Row {wrong[0]} has a token without a term in {name}, or a term without a token.")
    change = np.nan_to_num(terms[1], nan=0.0) - np.nan_to_num(terms[0], nan=0.0)
    rounding = math.fsum([totals[1], -totals[0], constants[0], -constants[1], *(-change).tolist()])
    _check(rounding, [*totals, *constants, *np.nan_to_num(np.abs(terms), nan=0.0).ravel()], bound)
    grouped = smallest(change, top)
    lines = lines_of_parts(constants, terms, tokens, grouped)
    reached = _reached(totals[0], lines)
    low, high = min(*reached, totals[1]), max(*reached, totals[1])
    if abs(rounding) > ROUNDING_SEEN * (high - low):
        lines.append(Line("<i>rounding</i>", "rounding of both runs", None, None, rounding, is_step=False))
        reached = _reached(totals[0], lines)
    room = ROOM * ((high - low) or 1.0)
    names = [f"{run}: {logit_label(what)}" for run, what in zip("AB", explained, strict=True)]
    along = "change of each term, from A to B"
    if grouped:
        along += f"<br>the {len(tokens) - len(grouped)} largest of {len(tokens)}"
    title = _terms_title(tokens, lines)
    labels = ["<b>A</b>", *(line.label for line in lines), "<b>B</b>"]
    layout = base_layout(theme, "compared-terms", [str(part) for part in (*tokens, *explained)], 0) | {
        "height": ROW_HEIGHT * len(labels) + 100 + LINE * title.count("<br>"),
        "barmode": "overlay",
        "showlegend": True,
        "annotations": beyond(lines, look(theme).text),
        "legend": legend_above(theme),
        "xaxis": value_axis(theme, title, domain=LEFT, anchor="y"),
        "xaxis2": value_axis(theme, along, domain=RIGHT, anchor="y2", range=[low - room, high + room], zeroline=False),
        "yaxis": _row_axis(theme, labels, anchor="x"),
        "yaxis2": _row_axis(theme, labels, anchor="x2", showticklabels=False, matches="y"),
    }
    data = marks(lines, names, totals, theme) + steps(lines, reached, totals, (low + high) / 2, theme)
    return Chart(
        "compared-terms",
        go.Figure(data=data, layout=layout),
        _table(constants, terms, tokens, totals, rounding, grouped),
    )


def _check(rounding: float, sizes: Sequence[float], bound: float | None) -> None:
    most = 1e-6 * math.fsum(map(abs, sizes)) if bound is None else bound
    if not abs(rounding) <= most:
        raise ValueError(f"The changes miss that of the totals by {rounding:.6g}, which is more than {most:.6g}.")


def _reached(start: float, lines: Sequence[Line]) -> list[float]:
    """Where the way stands before the first step and after each."""
    return [math.fsum([start, *(line.change for line in lines[:i])]) for i in range(len(lines) + 1)]


def _terms_title(tokens: Tokens, lines: Sequence[Line]) -> str:
    """What the left panel shows, and under it what its signs mean, those that are there."""
    said = ["a → b: another token in B"] if any(a != b and None not in (a, b) for a, b in tokens) else []
    said += [f"{NOTHING}: no token"] if any(None in pair for pair in tokens) else []
    said += ["◂ ▸: beyond the axis"] if far_out(lines) else []
    return "<br>".join(["term in A and in B", *said])


def _row_axis(theme: Theme, labels: Sequence[str], **changes: Any) -> dict[str, Any]:
    """The rows from above, each with its label and a faint line."""
    return value_axis(
        theme,
        "",
        tickmode="array",
        tickvals=list(range(len(labels))),
        ticktext=list(labels),
        tickfont={"family": MONO, "size": 12, "color": look(theme).text},
        range=[len(labels) - 0.5, -0.5],
        zeroline=False,
        ticks="",
        **changes,
    )


def _table(
    constants: tuple[float, float],
    terms: tuple[np.ndarray, np.ndarray],
    tokens: Tokens,
    totals: tuple[float, float],
    rounding: float,
    grouped: set[int],
) -> dict[str, list[Any]]:
    """One row a part, with the change and the way from A's total up to and including it; empty where there is none."""
    n = len(tokens)
    a, b = (["" if math.isnan(x) else x for x in column.tolist()] for column in terms)
    changes = [constants[1] - constants[0], *(np.nan_to_num(terms[1]) - np.nan_to_num(terms[0])).tolist(), rounding]
    ways = [math.fsum([totals[0], *changes[: i + 1]]) for i in range(n + 2)]
    places = positions(tokens)
    return {
        "part": ["constant", *["token"] * n, "rounding", "total"],
        "position_a": ["", *("" if i is None else i for i, _ in places), "", ""],
        "position_b": ["", *("" if j is None else j for _, j in places), "", ""],
        "token_a": ["", *("" if x is None else x for x, _ in tokens), "", ""],
        "token_b": ["", *("" if y is None else y for _, y in tokens), "", ""],
        "a": [constants[0], *a, "", totals[0]],
        "b": [constants[1], *b, "", totals[1]],
        "change": [*changes, totals[1] - totals[0]],
        "so_far": [*ways, totals[1]],
        "in_other_tokens": [False, *(i in grouped for i in range(n)), False, False],
    }
