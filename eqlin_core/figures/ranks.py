"""Charts of truncation and of the joint spectrum: the prediction over the rank, and which tokens a triplet reads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .labels import printed, token_label
from .layout import SMALL_PANEL, base_layout, colour_bar, hover_tokens, log_axis, token_axis, token_labels, value_axis
from .palette import MONO, Theme, diverging_scale, look

SMALLEST = 1e-9  # nats; below this the divergence of a rank is rounding


@in_any_theme
def rank_dial(
    divergence: Float[np.ndarray, " ranks"],
    chance: Float[np.ndarray, " ranks"],
    *,
    token: str,
    true_chance: float,
    position: int | None = None,
    keeps: int | None = None,
    theme: Theme = "light",
) -> Chart:
    """Over the rank r: the KL divergence from the true next-token distribution, and the probability of its top token.

    `position` marks the rank that is looked at, `keeps` the one from which on the top token stays the true one; rank 0
    has no place on the logarithmic axis and is in the table only.
    """
    kl, p = (np.asarray(values, dtype=np.float64) for values in (divergence, chance))
    if len(kl) != len(p):
        raise ValueError(f"{len(kl)} divergences and {len(p)} probabilities.")
    colours = look(theme)
    r = np.arange(len(kl))
    name = token_label(token)
    shown = np.where(kl > SMALLEST, kl, np.nan)[1:]
    line = {"type": "scatter", "mode": "lines+markers" if len(kl) <= 65 else "lines", "x": r[1:]}
    style = {"line": {"color": colours.accent, "width": 2}, "marker": {"color": colours.accent, "size": 4}}
    data: list[dict[str, Any]] = [
        line
        | style
        | {
            "y": shown,
            "customdata": [printed(v) for v in kl[1:]],
            "hovertemplate": "r = %{x:d}<br>KL %{customdata} nats<extra></extra>",
            "name": "divergence",
        },
        line
        | style
        | {
            "y": p[1:],
            "yaxis": "y2",
            "hovertemplate": f"r = %{{x:d}}<br>probability of {name} %{{y:.3g}}<extra></extra>",
            "name": "probability",
        },
    ]
    shapes = []
    if keeps is not None and keeps > 0:
        shapes.append(_upright(keeps, colours.muted, "dot", 1.25))
    if position is not None and position > 0:
        shapes.append(_upright(position, colours.text, "solid", 1.5))
    shapes.append(
        {
            "type": "line",
            "xref": "paper",
            "yref": "y2",
            "x0": 0,
            "x1": 1,
            "y0": true_chance,
            "y1": true_chance,
            "line": {"color": colours.muted, "width": 1, "dash": "dash"},
        }
    )
    top = np.log10(max(len(kl) - 1, 1))
    layout = base_layout(theme, "rank", [token, str(len(kl))], 400) | {
        "xaxis": value_axis(
            theme,
            "rank r kept of every matrix",
            **log_axis(r[1:]),
            range=[-0.03 * top, 1.03 * top + 0.01],
            anchor="y2",
            zeroline=False,
        ),
        "yaxis": value_axis(
            theme, "KL (nats)", domain=[0.54, 1.0], zeroline=False, **log_axis(shown, decades=SMALL_PANEL)
        ),
        "yaxis2": value_axis(theme, f"probability<br>of {name}", domain=[0.0, 0.44], rangemode="tozero"),
        "shapes": shapes,
    }
    table = {"rank": r.tolist(), "kl_nats": kl.tolist(), "probability_of_true_top_token": p.tolist()}
    return Chart("rank", go.Figure(data=data, layout=layout), table)


@in_any_theme
def joint_spectrum(
    S: Float[np.ndarray, " k"],
    weights: Float[np.ndarray, "k tokens"],
    tokens: Sequence[str],
    *,
    highlight: int | None = None,
    theme: Theme = "light",
) -> Chart:
    """The singular values of [J_1 ... J_T], and beside them how much of each right vector lies on which token.

    `weights` are ||v_i||^2, which sum to 1 over the tokens; `highlight` is the index of the triplet that is marked.
    """
    sigma, share = np.asarray(S, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    k, T = share.shape
    if (len(sigma), len(tokens)) != (k, T):
        raise ValueError(f"{len(sigma)} values and {len(tokens)} tokens for weights of {k} x {T}.")
    colours = look(theme)
    index, hover = np.arange(1, k + 1), hover_tokens(tokens)
    accents = [colours.accent if i == highlight else colours.muted for i in range(k)]
    upper = [(2 * (s - 0.5), colour) for s, colour in diverging_scale(theme) if s >= 0.5]
    data: list[dict[str, Any]] = [
        {
            "type": "heatmap",
            "z": share,
            "x": list(range(T)),
            "y": index,
            "zmin": 0,
            "zmax": 1,
            "colorscale": upper,
            "xgap": 1 if T <= 100 else 0,
            "ygap": 1,
            "customdata": [[[hover[i], printed(share[j, i])] for i in range(T)] for j in range(k)],
            "hovertemplate": "triplet %{y} reads from %{customdata[0]}<br>‖vᵢ‖² %{customdata[1]}<extra></extra>",
            "colorbar": colour_bar(theme, "‖vᵢ‖²"),
            "name": "weights",
        },
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": sigma,
            "y": index,
            "xaxis": "x2",
            "yaxis": "y",
            "line": {"color": colours.muted, "width": 1.25},
            "marker": {"color": accents, "size": 7},
            "customdata": [printed(v) for v in sigma],
            "hovertemplate": "triplet %{y}<br>σ %{customdata}<extra></extra>",
            "name": "singular values",
        },
    ]
    labels = token_labels(tokens)
    layout = base_layout(theme, "joint-spectrum", tokens, 18 * k + 130, labels) | {
        "xaxis": token_axis(theme, tokens, domain=[0.36, 1.0]),
        "xaxis2": value_axis(theme, "singular value σₖ", domain=[0.0, 0.31], anchor="y")
        | log_axis(sigma, decades=SMALL_PANEL),
        "yaxis": value_axis(
            theme,
            "joint triplet k",
            anchor="x2",
            range=[k + 0.5, 0.5],
            showgrid=False,
            zeroline=False,
            tickmode="array",
            tickvals=[i for i in index.tolist() if i == 1 or i % 4 == 0],
        ),
    }
    table: dict[str, Any] = {
        "k": [j for j in index.tolist() for _ in range(T)],
        "sigma": [s for s in sigma.tolist() for _ in range(T)],
        "position": list(range(T)) * k,
        "token": list(tokens) * k,
        "weight": share.ravel().tolist(),
    }
    return Chart("joint-spectrum", go.Figure(data=data, layout=layout), table)


@in_any_theme
def top_tokens(
    rows: Sequence[tuple[str, float]], true: str, title: str, *, most: float = 1.0, theme: Theme = "light"
) -> Chart:
    """The most likely next tokens as horizontal bars, best first; the `true` one stands out. `most` ends the axis."""
    colours = look(theme)
    index = list(range(1, len(rows) + 1))
    numbers = [f"{100 * float(p):.2f}%" for _, p in rows]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [float(p) for _, p in rows],
        "y": index,
        "marker": {"color": [colours.accent if t == true else colours.total for t, _ in rows], "line": {"width": 0}},
        "text": numbers,
        "textposition": "outside",
        "textfont": {"family": MONO, "size": 11, "color": colours.text},
        "cliponaxis": False,
        "customdata": hover_tokens([t for t, _ in rows]),
        "hovertemplate": "%{customdata}<br>%{text}<extra></extra>",
        "name": "probability",
    }
    layout = base_layout(theme, "top-tokens", [true], 400) | {
        "xaxis": value_axis(theme, title, range=[0, 1.25 * most], tickformat=".2~p"),
        "yaxis": value_axis(
            theme,
            "",
            tickmode="array",
            tickvals=index,
            ticktext=[token_label(t) for t, _ in rows],
            tickfont={"family": MONO, "size": 12, "color": colours.text},
            range=[len(rows) + 0.6, 0.4],
            showgrid=False,
            zeroline=False,
        ),
    }
    table: dict[str, Any] = {"token": [t for t, _ in rows], "probability": [float(p) for _, p in rows]}
    return Chart("top-tokens", go.Figure(data=[bars], layout=layout), table)


def _upright(x: int, colour: str, dash: str, width: float) -> dict[str, Any]:
    """A line over the whole height."""
    return {
        "type": "line",
        "yref": "paper",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1,
        "line": {"color": colour, "width": width, "dash": dash},
    }
