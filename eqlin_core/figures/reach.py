"""How far a frozen map reaches while one token becomes another: its divergence from the model, and what it lacks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .labels import printed, text_label, token_label
from .layout import HOVER_WIDTH, base_layout, legend_above, value_axis
from .palette import Theme, kind_colours, look

HEIGHT = 340
ROOM = 0.04  # of the way, beyond both of its ends
AGREE, DIFFER = "same top token", "another top token"
WAY = "fraction t of the way"


@in_any_theme
def reach(
    fractions: Float[np.ndarray, " fractions"],
    divergence: Float[np.ndarray, " fractions"],
    frozen_top: Sequence[str],
    model_top: Sequence[str],
    *,
    agrees: Sequence[bool] | None = None,
    radius: float | None = None,
    way: str = WAY,
    theme: Theme = "light",
) -> Chart:
    """KL(model ‖ frozen map) over the fraction of a way that one token's embedding has gone.

    A dot where both have the same most likely token, a cross where they have not (`agrees`, else by the tokens' text),
    a dotted line at the `radius` from where on they differ. `way` is what the fraction is of. Raises ValueError where
    numbers of values differ.
    """
    t, kl = (np.asarray(values, dtype=np.float64) for values in (fractions, divergence))
    same = [a == b for a, b in zip(frozen_top, model_top, strict=False)] if agrees is None else list(map(bool, agrees))
    counts = [len(kl), len(frozen_top), len(model_top), len(same)]
    if not len(t) or set(counts) != {len(t)}:
        raise ValueError(f"{len(t)} fractions, {len(kl)} divergences and {min(counts[1:])} most likely tokens.")
    colours = look(theme)
    hover = [
        f"t = {x:.3g}<br>KL {printed(v)} nats<br>model {token_label(m, HOVER_WIDTH)}<br>map "
        f"{token_label(f, HOVER_WIDTH)}"
        for x, v, m, f in zip(t, kl, model_top, frozen_top, strict=True)
    ]
    line: dict[str, Any] = {"type": "scatter", "x": t.tolist(), "y": kl.tolist(), "mode": "lines", "hoverinfo": "skip"}
    data: list[dict[str, Any]] = [line | {"line": {"color": colours.accent, "width": 2}, "showlegend": False}]
    for name, wanted, symbol, colour in (
        (AGREE, True, "circle", colours.accent),
        (DIFFER, False, "x", colours.negative),
    ):
        places = [i for i, one in enumerate(same) if one is wanted]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [float(t[i]) for i in places],
                "y": [float(kl[i]) for i in places],
                "marker": {"symbol": symbol, "size": 9, "color": colour, "line": {"width": 0}},
                "customdata": [hover[i] for i in places],
                "hovertemplate": "%{customdata}<extra></extra>",
                "name": name,
                "showlegend": bool(places),
            }
        )
    top = float(np.nanmax(kl, initial=0.0)) or 1.0
    layout = base_layout(theme, "reach", [*frozen_top, way], HEIGHT) | {
        "showlegend": True,
        "legend": legend_above(theme),
        "xaxis": _way_axis(theme, t, way),
        "yaxis": value_axis(theme, "KL(model ‖ frozen map), nats", range=[-0.05 * top, 1.1 * top]),
        "shapes": _radius_line(radius, theme),
        "annotations": _radius_label(radius, theme),
    }
    table: dict[str, list[Any]] = {
        "t": t.tolist(),
        "divergence": kl.tolist(),
        "frozen_top": list(frozen_top),
        "model_top": list(model_top),
        "same_top": same,
    }
    return Chart("reach", go.Figure(data=data, layout=layout), table)


@in_any_theme
def reach_parts(
    fractions: Float[np.ndarray, " fractions"],
    parts: Mapping[str, Float[np.ndarray, " fractions"]],
    *,
    measure: str,
    hidden: Float[np.ndarray, " fractions"] | None = None,
    radius: float | None = None,
    way: str = WAY,
    theme: Theme = "light",
) -> Chart:
    """The change of a measure along the way, by what brings it: parts stacked from zero, and their sum, the model's.

    The first of the `parts` is the frozen map's. `hidden` is the share of the whole output's change that it lacks, said
    under the pointer. Raises ValueError without a part, and where numbers of values differ.
    """
    t = np.asarray(fractions, dtype=np.float64)
    stacked = {name: np.asarray(values, dtype=np.float64) for name, values in parts.items()}
    shares = np.full(len(t), np.nan) if hidden is None else np.asarray(hidden, dtype=np.float64)
    if not stacked or {len(shares), *map(len, stacked.values())} != {len(t)}:
        raise ValueError(f"{len(stacked)} parts for {len(t)} fractions, or parts of other lengths.")
    total = np.sum(list(stacked.values()), axis=0)
    colours = look(theme)
    names = {name: text_label(name) for name in stacked}
    hover = [_parts_hover(x, i, stacked, names, total[i], shares[i]) for i, x in enumerate(t)]
    shared = {"x": t.tolist(), "customdata": hover, "hovertemplate": "%{customdata}<extra></extra>"}
    step = float(np.min(np.diff(t))) if len(t) > 1 else 1.0
    data: list[dict[str, Any]] = [
        shared
        | {
            "type": "bar",
            "y": values.tolist(),
            "width": 0.72 * step,
            "marker": {"color": colour, "line": {"width": 0}},
            "name": names[name],
        }
        for (name, values), colour in zip(stacked.items(), kind_colours(list(stacked), theme), strict=True)
    ]
    outline = {"width": 1.5, "color": colours.background}
    data.append(
        shared
        | {
            "type": "scatter",
            "mode": "markers",
            "y": total.tolist(),
            "marker": {"symbol": "diamond", "size": 9, "color": colours.text, "line": outline},
            "name": "in the model",
        }
    )
    layout = base_layout(theme, "reach-parts", [measure, way, *stacked], HEIGHT) | {
        "showlegend": True,
        "legend": legend_above(theme) | {"traceorder": "normal"},
        "barmode": "relative",
        "xaxis": _way_axis(theme, t, way),
        "yaxis": value_axis(theme, f"change of the {text_label(measure)}"),
        "shapes": _radius_line(radius, theme),
    }
    table: dict[str, list[Any]] = {"t": t.tolist()} | {name: values.tolist() for name, values in stacked.items()}
    table |= {"in_the_model": total.tolist()}
    if hidden is not None:
        table["hidden_share"] = shares.tolist()
    return Chart("reach-parts", go.Figure(data=data, layout=layout), table)


def _parts_hover(
    t: float, i: int, parts: Mapping[str, np.ndarray], names: Mapping[str, str], total: float, share: float
) -> str:
    lines = [f"{names[name]} {printed(values[i], signed=True)}" for name, values in parts.items()]
    said = [f"t = {t:.3g}", f"in the model {printed(total, signed=True)}", "= " + "<br>+ ".join(lines)]
    if np.isfinite(share):
        said.append(f"of the output's change the map lacks {100 * share:.3g} &#37;")
    return "<br>".join(said)


def _way_axis(theme: Theme, t: np.ndarray, way: str) -> dict[str, Any]:
    low, high = float(t.min()), float(t.max())
    room = ROOM * ((high - low) or 1.0)
    return value_axis(theme, text_label(way), range=[low - room, high + room], zeroline=False)


def _radius_line(radius: float | None, theme: Theme) -> list[dict[str, Any]]:
    if radius is None:
        return []
    line = {"color": look(theme).muted, "width": 1.25, "dash": "dot"}
    return [{"type": "line", "yref": "paper", "x0": radius, "x1": radius, "y0": 0, "y1": 1, "line": line}]


def _radius_label(radius: float | None, theme: Theme) -> list[dict[str, Any]]:
    """What the dotted line is, on the side of it that has room."""
    if radius is None:
        return []
    return [
        {
            "x": radius,
            "y": 1,
            "yref": "paper",
            "yanchor": "top",
            "xanchor": "left" if radius < 0.5 else "right",
            "xshift": 6 if radius < 0.5 else -6,
            "text": f"first seen to differ at t = {printed(radius)}",
            "showarrow": False,
            "font": {"size": 12, "color": look(theme).text},
            "bgcolor": look(theme).background,
        }
    ]
