"""Chart of the read-outs of a residual stream: the rank of one token after every block, and cosines with one map."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from .chart import Chart, in_any_theme
from .labels import printed, text_label, token_label
from .layout import base_layout, legend_above, log_axis, value_axis
from .palette import Theme, kind_colours, look

HEIGHT = 460
ABOVE, BELOW = [0.44, 1.0], [0.0, 0.34]  # shares of the height: of the ranks, and of the cosines
NO_LENS = "dot"  # of the line that goes through no map


@in_any_theme
def lens_ranks(
    ranks: Mapping[str, Int[np.ndarray, " layers"]],
    cosines: Mapping[str, Float[np.ndarray, " layers"]],
    *,
    token: str,
    exact: str,
    plain: str,
    theme: Theme = "light",
) -> Chart:
    """Over the layers: the rank of ``token`` in every read-out, 1 on top, and below it cosines with the exact map's.

    ``ranks`` and ``cosines`` go by the names of the read-outs; a rank below 1 and a cosine that is not a number are of
    layers that a read-out does not have. ``exact`` names the read-out that stands out, ``plain`` the dotted one.
    Raises ValueError without a read-out, and where their numbers of layers differ.
    """
    lines = {name: np.where(np.asarray(of) >= 1, of, np.nan).astype(np.float64) for name, of in ranks.items()}
    if not lines:
        raise ValueError("There are no read-outs: at least one is drawn.")
    L = len(next(iter(lines.values())))
    if wrong := [name for name, of in [*lines.items(), *cosines.items()] if len(of) != L]:
        raise ValueError(f"{wrong[0]!r} has another number of layers than {L}.")
    name = token_label(token)
    others = [line for line in lines if line not in (exact, plain)]
    named = [exact, *others]
    colours = dict(zip(named, kind_colours(named, theme), strict=True)) | {plain: look(theme).muted}
    x = list(range(L))
    data: list[dict[str, Any]] = []
    for line, values in lines.items():
        style = {"color": colours[line], "width": 2.5 if line == exact else 1.75}
        one = {
            "type": "scatter",
            "mode": "lines+markers",
            "x": x,
            "line": style | {"dash": NO_LENS if line == plain else "solid"},
            "marker": {"color": colours[line], "size": 5},
            "legendgroup": text_label(line),
        }
        data.append(
            one
            | {
                "y": values,
                "customdata": [_hover(i, line, f"rank of {name}", v) for i, v in enumerate(values)],
                "hovertemplate": "%{customdata}<extra></extra>",
                "name": text_label(line),
            }
        )
        there = np.asarray(cosines.get(line, np.full(L, np.nan)), dtype=np.float64)
        if line != exact and np.isfinite(there).any():
            data.append(
                one
                | {
                    "y": there,
                    "yaxis": "y2",
                    "showlegend": False,
                    "customdata": [_hover(i, line, "cosine", v) for i, v in enumerate(there)],
                    "hovertemplate": "%{customdata}<extra></extra>",
                    "name": f"cosine, {text_label(line)}",
                }
            )
    with_cosines = any(one.get("yaxis") == "y2" for one in data)
    every = np.concatenate(list(lines.values()))
    top = float(np.log10(np.nanmax(every, initial=1.0)))
    layout = base_layout(theme, "lens-ranks", [token, *lines], HEIGHT if with_cosines else HEIGHT * 2 // 3) | {
        "showlegend": True,
        "legend": legend_above(theme),
        "xaxis": value_axis(theme, "after block", zeroline=False, range=[-0.6, L - 0.4])
        | ({"anchor": "y2"} if with_cosines else {}),
        "yaxis": value_axis(theme, f"rank of {name}", zeroline=False)
        | log_axis(every)
        | {"range": [1.04 * top + 0.05, -0.08 - 0.02 * top]}
        | ({"domain": ABOVE} if with_cosines else {}),
    }
    if with_cosines:
        layout["yaxis2"] = value_axis(theme, "cosine with<br>this prompt's map", domain=BELOW, range=[-0.35, 1.05])
    table: dict[str, list[Any]] = {
        "read_out": [line for line in lines for _ in x],
        "block": x * len(lines),
        "rank": ["" if np.isnan(v) else int(v) for of in lines.values() for v in of],
        "cosine": ["" if np.isnan(v) else float(v) for line in lines for v in cosines.get(line, np.full(L, np.nan))],
    }
    return Chart("lens-ranks", go.Figure(data=data, layout=layout), table)


def _hover(block: int, line: str, quantity: str, value: float) -> str:
    return f"after block {block}, {text_label(line)}<br>{quantity} {printed(value)}"
