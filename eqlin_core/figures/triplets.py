"""Charts of one token's singular triplets: what each does at this prompt, and what its vectors read as."""

import math
from collections.abc import Sequence
from typing import Any, SupportsFloat

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .labels import Explained, logit_label, printed, target_name, token_label
from .layout import BAR, HOVER_WIDTH, base_layout, slots, value_axis
from .palette import MONO, Theme, highlighted, look, readable_text, signed_colours


@in_any_theme
def triplet_effect(
    sigma: Float[np.ndarray, " k"],
    projections: Float[np.ndarray, " k"],
    shares: Float[np.ndarray, " k"],
    *,
    token: str,
    position: int,
    explained: Explained,
    term: SupportsFloat | None = None,
    highlight: int | None = None,
    theme: Theme = "light",
) -> Chart:
    """Above, sigma_k (v_k . x_i): how much of u_k token i writes; below, its part w . u_k sigma_k (v_k . x_i).

    `projections` are the v_k . x_i, `shares` the signed parts of the explained logit. With `term` = w . J_i x_i a last
    bar "rest" holds what the triplets after k add, so that the parts sum to it. `highlight` counts k from 1.
    """
    s, p, w = (np.asarray(values, dtype=np.float64) for values in (sigma, projections, shares))
    if not len(s) == len(p) == len(w):
        raise ValueError(f"{len(s)} singular values, {len(p)} projections and {len(w)} parts.")
    k = len(s)
    effects = (s * p).tolist()
    rest = [] if term is None else [float(term) - math.fsum(w.tolist())]
    drawn = [*w.tolist(), *rest]
    index = list(range(1, len(drawn) + 1))
    names = [*map(str, range(1, k + 1)), *("rest" for _ in rest)]
    chosen = None if highlight is None else highlight - 1
    data = [
        _signed_bars(index[:k], effects, chosen, theme)
        | {
            "customdata": [
                [printed(s[j]), printed(p[j], signed=True), printed(effects[j], signed=True)] for j in range(k)
            ],
            "hovertemplate": "k = %{x}<br>σₖ %{customdata[0]}<br>vₖ·xᵢ %{customdata[1]}"
            "<br>σₖ (vₖ·xᵢ) %{customdata[2]}<extra></extra>",
            "name": "effect",
        },
        _signed_bars(index, drawn, chosen, theme)
        | {
            "customdata": [
                [f"k = {j}" if j <= k else f"all triplets after k = {k}", printed(value, signed=True)]
                for j, value in zip(index, drawn, strict=True)
            ],
            "hovertemplate": f"%{{customdata[0]}}<br>part of the {target_name(explained)} %{{customdata[1]}}"
            "<extra></extra>",
            "name": "part",
            "yaxis": "y2",
        },
    ]
    first, last = slots(1, len(index))
    step = -(-k // 16)  # as many labels as half a page has room for
    ticks = [*range(0, k, step), *range(k, len(index))]
    layout = base_layout(theme, "triplet-effect", [token, str(position), str(explained)], height=440) | {
        "xaxis": value_axis(
            theme,
            f"singular triplet k of {token_label(token)} (position {position})",
            anchor="y2",
            range=[first, last],
            tickmode="array",
            tickvals=[index[j] for j in ticks],
            ticktext=[names[j] for j in ticks],
            tickangle=0,
            showgrid=False,
            zeroline=False,
        ),
        "yaxis": value_axis(theme, "effect σₖ (vₖ·xᵢ)", domain=[0.55, 1.0]),
        "yaxis2": value_axis(theme, f"part of the<br>{logit_label(explained)}", domain=[0.0, 0.45]),
    }
    blank = [""] * len(rest)
    table: dict[str, list[Any]] = {
        "k": names,
        "sigma": [*s.tolist(), *blank],
        "projection": [*p.tolist(), *blank],
        "effect": [*effects, *blank],
        "term": drawn,
    }
    return Chart("triplet-effect", go.Figure(data=data, layout=layout), table)


def _signed_bars(x: list[int], y: list[float], chosen: int | None, theme: Theme) -> dict[str, Any]:
    return {
        "type": "bar",
        "x": x,
        "y": y,
        "width": BAR,
        "marker": {"color": highlighted(signed_colours(y, theme), chosen, theme), "line": {"width": 0}},
    }


@in_any_theme
def readout_bars(
    u: Sequence[tuple[str, float]],
    v: Sequence[tuple[str, float]] = (),
    *,
    u_title: str = "u through the unembedding",
    v_title: str = "v: cosine with embeddings",
    theme: Theme = "light",
) -> Chart:
    """The read-out of a triplet as horizontal bars, best first: (token, score) rows of u, and of v beside them."""
    sides = [(rows, title, side) for rows, title, side in ((u, u_title, "u"), (v, v_title, "v")) if len(rows)]
    names = [token for rows, _, _ in sides for token, _ in rows]
    most = max((len(rows) for rows, _, _ in sides), default=1)
    layout = base_layout(theme, "read-out", names, height=26 * most + 90)
    data = []
    for number, (rows, title, _) in enumerate(sides):
        suffix = "2" if number else ""
        domain = [0.0, 1.0] if len(sides) == 1 else [(0.0, 0.39), (0.61, 1.0)][number]
        data.append(_readout_side(rows, theme) | {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"})
        scores = [0.0, *(float(score) for _, score in rows)]
        room = 0.03 * ((max(scores) - min(scores)) or 1.0)
        layout[f"xaxis{suffix}"] = value_axis(
            theme,
            title,
            domain=domain,
            anchor=f"y{suffix}",
            range=[min(scores) - (room if min(scores) < 0 else 0), max(scores) + (room if max(scores) > 0 else 0)],
        )
        layout[f"yaxis{suffix}"] = value_axis(
            theme,
            "",
            anchor=f"x{suffix}",
            tickmode="array",
            tickvals=list(range(1, len(rows) + 1)),
            ticktext=[token_label(token) for token, _ in rows],
            tickfont={"family": MONO, "size": 12, "color": look(theme).text},
            range=[most + 0.5, 0.5],
            showgrid=False,
            zeroline=False,
        )
    table: dict[str, list[Any]] = {
        "vector": [side for rows, _, side in sides for _ in rows],
        "rank": [rank for rows, _, _ in sides for rank in range(1, len(rows) + 1)],
        "token": names,
        "score": [float(score) for rows, _, _ in sides for _, score in rows],
    }
    return Chart("read-out", go.Figure(data=data, layout=layout), table)


@in_any_theme
def target_effects(targets: Sequence[str], effects: Float[np.ndarray, " n"], *, theme: Theme = "light") -> Chart:
    """What one triplet adds to the logits of some next tokens, w . u sigma (v . x), as signed horizontal bars."""
    values = [float(effect) for effect in effects]
    bars = readout_bars(
        list(zip(targets, values, strict=True)), u_title="adds to the logit: w · u σ (v · x)", theme=theme
    )
    return Chart("target-effects", bars.figure, {"target": list(targets), "effect": values})


def _readout_side(rows: Sequence[tuple[str, float]], theme: Theme) -> dict[str, Any]:
    scores = [float(score) for _, score in rows]
    numbers = [printed(score) for score in scores]
    return {
        "type": "bar",
        "orientation": "h",
        "x": scores,
        "y": list(range(1, len(rows) + 1)),
        "width": BAR,
        "marker": {"color": signed_colours(scores, theme), "line": {"width": 0}},
        "text": numbers,
        "textposition": "auto",  # within the bar where it fits: beyond it the other side's tokens begin
        "insidetextanchor": "end",
        "insidetextfont": {"family": MONO, "size": 11, "color": readable_text(look(theme).positive, theme)},
        "outsidetextfont": {"family": MONO, "size": 11, "color": look(theme).text},
        "cliponaxis": False,
        "customdata": [
            [token_label(token, HOVER_WIDTH), rank, number]
            for rank, ((token, _), number) in enumerate(zip(rows, numbers, strict=True), start=1)
        ],
        "hovertemplate": "%{customdata[0]}  rank %{customdata[1]}<br>score %{customdata[2]}<extra></extra>",
        "name": "score",
    }
