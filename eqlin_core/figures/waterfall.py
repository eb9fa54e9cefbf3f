"""The waterfall: from the bias through every token's term to the logit."""

import math
from collections.abc import Collection, Sequence
from typing import Any, SupportsFloat

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .apart import APART, FEWEST_TOKENS, OWN_SCALE, apart_range, panels
from .chart import Chart, in_any_theme
from .labels import Explained, logit_label, target_name, text_label
from .layout import CHARACTER, base_layout, label_axis, value_axis
from .palette import Theme, look
from .results import ExactMap, split_of
from .waterfall_bars import (
    DIFFERS,
    Bar,
    bar_trace,
    bars_of_parts,
    connectors,
    cut_mark,
    numbers,
    smallest,
    value_range,
)

VALUE_LABELS = 16  # up to so many bars carry their number; beyond, only the hover does
NAME_WIDTH = 20  # characters of the total's name at its bar


@in_any_theme
def waterfall(
    bias: SupportsFloat | ExactMap,
    terms: Float[np.ndarray, " tokens"] | str | int,
    total: SupportsFloat | None = None,
    tokens: Sequence[str] | None = None,
    *,
    explained: Explained | None = None,
    target: str | None = None,
    apart: bool = False,
    hatched: Collection[int] = (),
    top: int | None = 40,
    tolerance: float = 1e-6,
    theme: Theme = "light",
) -> Chart:
    """The exact sum w.y = w.b + sum_i w.J_i x_i as bars from the bias to the logit.

    `waterfall(lin, token)` takes the sum from a linear map, for the logit of a token (its text or its id).
    `explained` is the token of w, or a pair (A, B) where w is the difference of two unembedding rows; `target` is what
    the total is called where it is no logit ("log-probability of ·Paris"). Of more than `top` tokens the smallest terms
    share one bar "N other tokens"; the table always has every term. With `apart` the bias and the first of at least 3
    tokens stand in a panel of their own, and the others' axis need not reach zero. The tokens at the positions
    `hatched` are marked as those whose sign or rank differs in another exact map. Raises ValueError if the parts miss
    `total` by more than `tolerance` times the sum of their sizes: pass the bound of the run's dtype (that of a linear
    map is known); for a position that does not exist; where nothing says what is explained.
    """
    if isinstance(bias, ExactMap):
        if not isinstance(terms, str | int):
            raise ValueError("Of a linear map a waterfall takes the token: waterfall(lin, token).")
        split = split_of(bias, terms)
        tolerance = max(tolerance, split.tolerance)
        explained = split.explained if explained is None else explained
        bias, terms, total, tokens = split.bias, split.terms, split.total, split.tokens
    if isinstance(terms, str | int) or total is None or tokens is None:
        raise ValueError("A waterfall takes bias, terms, total and tokens, or a linear map and a token.")
    if explained is None and target is None:
        raise ValueError("Say what is explained: the token of the logit, or the name of another target.")
    values = np.asarray(terms, dtype=np.float64)
    if len(values) != len(tokens):
        raise ValueError(f"{len(values)} terms for {len(tokens)} tokens.")
    if outside := [i for i in hatched if not 0 <= i < len(tokens)]:
        raise ValueError(f"Position {outside[0]} is hatched, of {len(tokens)} tokens.")
    offset, reached = float(bias), float(total)
    name, title = _names(explained, target)
    _check_sum(offset, values, reached, tolerance, "logit" if target is None else name)
    apart = apart and len(tokens) >= FEWEST_TOKENS
    grouped = smallest(values, top, first_apart=apart)
    bars = bars_of_parts(offset, values, tokens, grouped, hatched)
    bars.append(Bar(f"<i>{name}</i>", name, reached, start=0.0, end=reached, is_total=True))
    along = "input token, in the order of the prompt"
    if grouped:
        count = len(tokens) - apart
        along += f"{':<br>' if apart else ': '}the {count - len(grouped)} largest terms of "
        along += f"the other {count}" if apart else f"{count}"
    if hatched:
        along += f"<br>hatched: {DIFFERS}"
    seen = [*tokens, str(explained)] if target is None else [*tokens, str(explained), target]
    draw = _two_panels if apart else _one_panel
    data, layout = draw(bars, along, title, bool(hatched), theme)
    labels = [bar.label for bar in bars]
    layout = base_layout(theme, "waterfall", [*seen, "apart"] if apart else seen, 400, labels) | layout
    if target is not None and len(name) > len("difference"):  # half of it reaches beyond the last bar
        layout["margin"] |= {"r": round(layout["margin"]["r"] + CHARACTER * (len(name) - len("difference")) / 2)}
    table = _table(offset, values, reached, tokens, grouped)
    if hatched:
        table["differs"] = [False, *(i in hatched for i in range(len(tokens))), False]
    return Chart("waterfall", go.Figure(data=data, layout=layout), table)


def _names(explained: Explained | None, target: str | None) -> tuple[str, str]:
    """What the total is called at its bar, and on the axis."""
    if target is not None:
        return text_label(target.split(" of ")[0], NAME_WIDTH), text_label(target)
    assert explained is not None
    return target_name(explained), logit_label(explained)


def _check_sum(bias: float, terms: np.ndarray, total: float, tolerance: float, name: str) -> None:
    parts = math.fsum([bias, *terms.tolist()])
    size = abs(bias) + float(np.abs(terms).sum()) + abs(total)
    if not abs(parts - total) <= tolerance * size:
        raise ValueError(
            f"The bias and the terms sum to {parts:.17g}, the {name} is {total:.17g}: "
            f"they differ by more than {tolerance:g} of the sum of their sizes."
        )


def _one_panel(
    bars: list[Bar], along: str, title: str, hatching: bool, theme: Theme
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The traces, and what of the layout is the waterfall's own."""
    colours = look(theme)
    ends = [0.0, *(edge for bar in bars for edge in (bar.start, bar.end))]
    layout = {
        "xaxis": label_axis(theme, along, [bar.label for bar in bars]),
        "yaxis": value_axis(theme, title, range=value_range(ends)),
        "annotations": numbers(bars, colours.text) if len(bars) <= VALUE_LABELS else [],
    }
    return [bar_trace(bars, theme, hatching=hatching), connectors(bars, colours.muted)], layout


def _two_panels(
    bars: list[Bar], along: str, title: str, hatching: bool, theme: Theme
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The same with bias and first token at the left, and the others on an axis that begins where they need it."""
    colours = look(theme)
    first, rest, total = bars[:2], bars[2:-1], bars[-1]
    low, high = value_range([total.end, *(edge for bar in rest for edge in (bar.start, bar.end))])
    start = min(max(0.0, low), high)  # zero, or the end of the axis that is nearer to it
    main = [*rest, Bar(total.label, total.hover, total.value, start, total.end, is_total=True)]
    left, right = panels(len(first), len(main))
    labelled = len(bars) <= VALUE_LABELS
    axis = label_axis(theme, along, [bar.label for bar in main], domain=right)
    data = [
        bar_trace(main, theme, hatching=hatching),
        connectors(main, colours.muted, from_left=axis["range"][0]),
        bar_trace(first, theme, hatching=hatching) | APART,
        connectors(first, colours.muted, to_right=apart_range(len(first))[1]) | APART,
    ]
    layout = {
        "xaxis": axis,
        "yaxis": value_axis(theme, title, range=[low, high], anchor="x"),
        "xaxis2": label_axis(theme, OWN_SCALE, [bar.label for bar in first], domain=left, anchor="y2")
        | {"range": apart_range(len(first)), "minallowed": None, "maxallowed": None},
        "yaxis2": value_axis(
            theme, title, range=value_range([0.0, *(bar.end for bar in first)]), anchor="x2", zeroline=True
        ),
        "annotations": [
            *(numbers(main, colours.text)[0 if labelled else -1 :]),
            *numbers(first, colours.text, xref="x2", yref="y2"),
        ],
        "shapes": [cut_mark(len(rest), colours.background, at_top=start < 0)] if main[-1].is_cut else [],
    }
    return data, layout


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
