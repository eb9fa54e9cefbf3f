"""Charts of what deleting one token does: beside its exact term, and in the parts that it consists of."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .apart import APART, FEWEST_TOKENS, OWN_SCALE, apart_range, panels
from .chart import Chart, in_any_theme
from .labels import printed, text_label
from .layout import BAR, base_layout, hover_tokens, label_axis, token_axis, token_labels, value_axis
from .palette import MONO, Theme, kind_colours, look, signed_colours

VALUE_LABELS = 16  # tokens up to which bars carry their number
MOST_PARTS = 6  # that colours tell apart
BESIDE = 0.43  # slots from the middle of a bar to its marker, out of the way of its number
ROOM = 0.1  # of an axis, beyond its largest value, for numbers


@in_any_theme
def leave_one_out(
    falls: Float[np.ndarray, " tokens"],
    tokens: Sequence[str],
    *,
    measure: str = "log-probability",
    unit: str = "nats",
    terms: Float[np.ndarray, " tokens"] | None = None,
    apart: bool = False,
    theme: Theme = "light",
) -> Chart:
    """How much the measure falls when one token alone is deleted: above zero where the token is for it.

    `measure` ("log-probability of ·Paris") and `unit` are words for the axis. `terms` are the tokens' exact terms,
    drawn as markers on an axis of their own whose zero is that of the bars. With `apart` the first of at least 3 tokens
    stands in a panel of its own. Raises ValueError where the numbers of falls, terms and tokens differ.
    """
    values = np.asarray(falls, dtype=np.float64)
    exact = None if terms is None else np.asarray(terms, dtype=np.float64)
    T = len(tokens)
    if len(values) != T or (exact is not None and len(exact) != T):
        raise ValueError(f"{len(values)} falls and {T if exact is None else len(exact)} terms for {T} tokens.")
    apart = apart and T >= FEWEST_TOKENS
    first = int(apart)
    title = f"fall of the {text_label(measure)}<br>without the token ({text_label(unit)})"
    hover = _fall_hover(values, exact, tokens, text_label(unit))
    rest = slice(first, T)
    data, (falls_range, terms_range) = _falls(
        values[rest], None if exact is None else exact[rest], hover[rest], T <= VALUE_LABELS, theme
    )
    axes = {
        "xaxis": token_axis(theme, tokens[rest], first),
        "yaxis": value_axis(theme, "other tokens" if apart else title, range=falls_range, anchor="x"),
    }
    if exact is not None:
        axes["yaxis3"] = _term_axis(theme, range=terms_range, overlaying="y", anchor="x")
        data += _legend_entries(theme)
    if apart:
        term = None if exact is None else exact[:1]
        alone, (falls_range, terms_range) = _falls(values[:1], term, hover[:1], True, theme, alone=True)
        data += alone
        slots = 1 if exact is None else 2  # the marker beside the bar
        left, right = panels(slots, T - 1)
        axes["xaxis"] |= {"domain": right}
        axes["xaxis2"] = label_axis(theme, OWN_SCALE, token_labels(tokens)[:1], domain=left, anchor="y2")
        axes["xaxis2"] |= {"range": apart_range(slots), "minallowed": None, "maxallowed": None}
        axes["yaxis2"] = value_axis(theme, title, range=falls_range, anchor="x2")
        if exact is not None:  # there is no room for its ticks: the marker carries its number
            axes["yaxis4"] = _term_axis(theme, range=terms_range, overlaying="y2", anchor="x2", visible=False)
    seen = [*tokens, measure, unit, str(apart), str(exact is not None)]
    layout = base_layout(theme, "leave-one-out", seen, 400, token_labels(tokens)) | axes | {"barmode": "overlay"}
    if exact is not None:
        layout |= _legend(theme)
    table: dict[str, list[Any]] = {
        "position": list(range(T)),
        "token": list(tokens),
        "fall": values.tolist(),
        "term": [""] * T if exact is None else exact.tolist(),
    }
    return Chart("leave-one-out", go.Figure(data=data, layout=layout), table)


@in_any_theme
def hidden_effects(
    parts: Mapping[str, Float[np.ndarray, " tokens"]],
    measured: Float[np.ndarray, " tokens"],
    tokens: Sequence[str],
    *,
    measure: str,
    tolerance: float = 1e-3,
    theme: Theme = "light",
) -> Chart:
    """What the fall of the measure without each token consists of: parts stacked up and down from zero, and their sum.

    `parts` are named in the order of stacking, at most 6; the first is what the exact map foretells. Their sum is
    `measured`, which a marker shows. Raises ValueError where they miss it by more than `tolerance` times the largest
    sum of a token's sizes, where there are too many parts or none, and where numbers of tokens differ.
    """
    total, T = np.asarray(measured, dtype=np.float64), len(tokens)
    stacked = {name: np.asarray(values, dtype=np.float64) for name, values in parts.items()}
    if not 1 <= len(stacked) <= MOST_PARTS:
        raise ValueError(f"There are {len(stacked)} parts; 1 to {MOST_PARTS} can be told apart.")
    if {len(total), *map(len, stacked.values())} != {T}:
        raise ValueError(f"{len(total)} effects and parts of {len(next(iter(stacked.values())))} for {T} tokens.")
    _check_parts(stacked, total, tolerance)
    colours, hover = look(theme), hover_tokens(tokens)
    names = {name: text_label(name) for name in stacked}
    data: list[dict[str, Any]] = [
        {
            "type": "bar",
            "x": list(range(T)),
            "y": values.tolist(),
            "width": BAR,
            "marker": {"color": colour, "line": {"width": 1, "color": colours.background}},
            "customdata": [[hover[i], i, printed(v, signed=True)] for i, v in enumerate(values)],
            "hovertemplate": f"%{{customdata[0]}}  position %{{customdata[1]}}<br>{names[name]} %{{customdata[2]}}"
            "<extra></extra>",
            "name": names[name],
        }
        for (name, values), colour in zip(stacked.items(), kind_colours(list(stacked), theme), strict=True)
    ]
    lines = [[f"{names[name]} {printed(values[i], signed=True)}" for name, values in stacked.items()] for i in range(T)]
    data.append(
        _diamonds(total, colours.text, theme)
        | {
            "customdata": [
                f"{hover[i]}  position {i}<br>measured {printed(total[i], signed=True)}<br>= {'<br>+ '.join(lines[i])}"
                for i in range(T)
            ],
            "hovertemplate": "%{customdata}<extra></extra>",
            "name": "measured",
        }
    )
    title = f"fall of the {text_label(measure)}<br>without the token"
    seen = [*tokens, measure, *stacked]
    layout = base_layout(theme, "hidden-effects", seen, 420, token_labels(tokens)) | {
        **_legend(theme),
        "barmode": "relative",
        "xaxis": token_axis(theme, tokens),
        "yaxis": value_axis(theme, title),
    }
    table: dict[str, list[Any]] = {"position": list(range(T)), "token": list(tokens)}
    table |= {name: values.tolist() for name, values in stacked.items()} | {"measured": total.tolist()}
    return Chart("hidden-effects", go.Figure(data=data, layout=layout), table)


def _fall_hover(falls: np.ndarray, terms: np.ndarray | None, tokens: Sequence[str], unit: str) -> list[str]:
    """What is said under the pointer, the same at a token's bar and at its marker."""
    texts = []
    for i, token in enumerate(hover_tokens(tokens)):
        text = f"{token}  position {i}<br>fall without it {printed(falls[i], signed=True)} {unit}"
        texts.append(text if terms is None else f"{text}<br>◆ exact term {printed(terms[i], signed=True)}")
    return texts


def _falls(
    falls: np.ndarray, terms: np.ndarray | None, hover: list[str], labelled: bool, theme: Theme, *, alone: bool = False
) -> tuple[list[dict[str, Any]], tuple[list[float], list[float]]]:
    """The bars of one panel and the markers on their axis, and the ranges of both axes, whose zeros coincide.

    `alone` is the panel at the left, where the marker of the only token stands beside its bar, with its number.
    """
    colours = look(theme)
    shared = {"customdata": hover, "hovertemplate": "%{customdata}<extra></extra>", "showlegend": False}
    shared |= APART if alone else {}
    bars: dict[str, Any] = shared | {
        "type": "bar",
        "x": list(range(len(falls))),
        "y": falls.tolist(),
        "width": BAR,
        "marker": {"color": signed_colours(falls.tolist(), theme), "line": {"width": 0}},
        "name": "fall",
    }
    if labelled:
        bars |= {
            "text": [printed(v, signed=True) for v in falls],
            "textposition": "outside",
            "textangle": 0,
            "constraintext": "none",
            "textfont": {"family": MONO, "size": 11, "color": colours.text},
            "cliponaxis": False,
        }
    size = _largest(falls)
    if terms is None:
        low, high = _ends(falls / size)
        return [bars], ([low * size, high * size], [])
    term_size = _largest(terms)
    low, high = _ends(np.append(falls / size, terms / term_size))
    markers = shared | _diamonds(terms, colours.muted, theme, shift=1.0 if alone else BESIDE)
    markers |= {"yaxis": "y4" if alone else "y3", "name": "exact term"}
    if alone:
        markers |= {
            "mode": "markers+text",
            "text": [printed(v, signed=True) for v in terms],
            "textposition": ["top center" if v >= 0 else "bottom center" for v in terms],
            "textfont": {"family": MONO, "size": 11, "color": colours.text},
            "cliponaxis": False,
        }
    return [bars, markers], ([low * size, high * size], [low * term_size, high * term_size])


def _largest(values: np.ndarray) -> float:
    """The largest size, or 1 where all are zero."""
    return float(np.nanmax(np.abs(values), initial=0.0)) or 1.0


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The ends of an axis with zero on it, and room for numbers where bars end."""
    low, high = float(np.nanmin(values, initial=0.0)), float(np.nanmax(values, initial=0.0))
    room = ROOM * ((high - low) or 1.0)
    return low - room if low < 0 or high == 0 else low, high + room if high > 0 or low == 0 else high


def _diamonds(values: np.ndarray, colour: str, theme: Theme, *, shift: float = 0.0) -> dict[str, Any]:
    """Markers over the bars, or beside them, in an outline that sets them off."""
    outline = {"width": 1.5, "color": look(theme).background}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [i + shift for i in range(len(values))],
        "y": values.tolist(),
        "marker": {"symbol": "diamond", "size": 10, "color": colour, "line": outline},
    }


def _term_axis(theme: Theme, **changes: Any) -> dict[str, Any]:
    """The axis of the exact terms, at the right of its panel and without a grid of its own."""
    return value_axis(
        theme, "◆ exact term", side="right", showgrid=False, zeroline=False, tickmode="auto", nticks=6, **changes
    )


def _legend(theme: Theme) -> dict[str, Any]:
    """A legend in one line above the plot."""
    return {
        "showlegend": True,
        "legend": {
            "orientation": "h",
            "traceorder": "normal",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"size": 12, "color": look(theme).text},
            "bgcolor": "rgba(0,0,0,0)",
        },
    }


def _legend_entries(theme: Theme) -> list[dict[str, Any]]:
    """Empty traces that say what a bar's colour and a marker mean."""
    colours = look(theme)
    empty = {"x": [None], "y": [None], "hoverinfo": "skip"}
    return [
        empty | {"type": "bar", "name": "falls without the token", "marker": {"color": colours.positive}},
        empty | {"type": "bar", "name": "rises without the token", "marker": {"color": colours.negative}},
        empty
        | _diamonds(np.array([np.nan]), colours.muted, theme)
        | {"x": [None], "y": [None], "yaxis": "y3", "name": "exact term, on its own scale"},
    ]


def _check_parts(parts: Mapping[str, np.ndarray], measured: np.ndarray, tolerance: float) -> None:
    stacked = np.stack(list(parts.values()))
    sizes = np.abs(stacked).sum(0) + np.abs(measured)
    missed = np.abs(stacked.sum(0) - measured)
    if not (missed <= tolerance * sizes.max(initial=0.0)).all():
        worst = int(np.nanargmax(missed)) if np.isfinite(missed).any() else 0
        raise ValueError(
            f"At position {worst} the parts sum to {float(stacked[:, worst].sum()):.6g}, measured is "
            f"{float(measured[worst]):.6g}: they differ by more than {tolerance:g} of the largest effect."
        )
