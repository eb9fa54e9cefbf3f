"""Charts of steering: metrics over the strength, forecast beside reality, and where the concept lives."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .labels import printed, token_label, visible_token
from .layout import SMALL_PANEL, base_layout, log_axis, value_axis
from .palette import MONO, Theme, look

PANEL = 132  # pixels of one of several charts above one another
PANEL_GAP = 0.055  # between them, of the whole height
PANEL_TITLES = (
    "log-probability of the<br>concept (nats a token)",
    "KL from the unsteered<br>next token (nats)",
    "perplexity,<br>unsteered model",
)
NAME_ROOM = 74  # pixels left of the plotting area
# Above the panels, in pixels: the legend, each row of names of changes, and the plotting area at its narrowest.
LEGEND, CHANGE_ROW, NARROW = 26, 15, 640
LETTER = 6.7  # pixels of one letter of a change's name


@in_any_theme
def steering_metrics(
    strengths: Float[np.ndarray, " S"],
    concept: Float[np.ndarray, " S"],
    divergence: Float[np.ndarray, " S"],
    perplexity: Float[np.ndarray, " S"],
    *,
    control: tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"], Float[np.ndarray, " S"]] | None = None,
    position: float | None = None,
    changes: Sequence[tuple[float, str]] = (),
    word: str = "",
    breaks_down: float | None = None,
    theme: Theme = "light",
) -> Chart:
    """Three panels over the strength, with the control (the same three of a random operator) as a thin grey line.

    `position` is marked by a line, each of the `changes` of the next token, (strength, new token), by a dotted one;
    from `breaks_down` on, where the text is none any more, the ground is tinted. `word` names the concept.
    """
    colours = look(theme)
    steered = [np.asarray(v, dtype=np.float64) for v in (concept, divergence, perplexity)]
    random = None if control is None else [np.asarray(v, dtype=np.float64) for v in control]
    x = np.asarray(strengths, dtype=np.float64)
    if any(len(v) != len(x) for v in [*steered, *(random or [])]):
        raise ValueError(f"The metrics do not have one value for each of the {len(x)} strengths.")
    data: list[dict[str, Any]] = []
    for panel in range(len(PANEL_TITLES)):
        if random is not None:
            data.append(_metric_line(x, random[panel], panel, "random operator", colours.muted, width=1.25, size=3))
        data.append(_metric_line(x, steered[panel], panel, "steered", colours.accent, width=2.25, size=5))
    notes, rows = _change_notes(theme, changes, _padded(x))
    head = LEGEND + CHANGE_ROW * rows
    layout = base_layout(theme, "steering-metrics", [], 3 * PANEL + 56 + head) | {
        "xaxis": value_axis(theme, "strength λ", zeroline=False, anchor="y3", range=_padded(x)),
        "showlegend": random is not None,
        "legend": _legend_above(theme) | {"yref": "container", "y": 1, "yanchor": "top"},
        "margin": {"l": NAME_ROOM, "r": 16, "t": head, "b": 48},
        "shapes": [
            *_marks(theme, position, [strength for strength, _ in changes]),
            *_tint(theme, breaks_down, float(x.max())),
        ],
        "annotations": notes,
    }
    for panel in range(len(PANEL_TITLES)):
        values = steered[panel] if random is None else np.concatenate([steered[panel], random[panel]])
        layout[f"yaxis{panel + 1}" if panel else "yaxis"] = _metric_axis(theme, panel, values, word)
    table: dict[str, Any] = {
        "strength": x.tolist(),
        "concept_log_probability": steered[0].tolist(),
        "kl_from_unsteered": steered[1].tolist(),
        "perplexity_unsteered_model": steered[2].tolist(),
    }
    if random is not None:
        for name, values in zip(list(table)[1:4], random, strict=True):
            table[f"random_{name}"] = values.tolist()
    return Chart("steering-metrics", go.Figure(data=data, layout=layout), table)


def _metric_line(
    x: np.ndarray, y: np.ndarray, panel: int, name: str, colour: str, *, width: float, size: int
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": np.where(np.isfinite(y), y, np.nan),
        "yaxis": f"y{panel + 1}" if panel else "y",
        "line": {"color": colour, "width": width, "dash": "solid"},
        "marker": {"color": colour, "size": size},
        "name": name,
        "legendgroup": name,
        "showlegend": panel == 0,
        "customdata": [printed(v) for v in y],
        "hovertemplate": f"λ = %{{x:.3g}}<br>{name} %{{customdata}}<extra></extra>",
    }


def _metric_axis(theme: Theme, panel: int, values: np.ndarray, word: str = "") -> dict[str, Any]:
    """The vertical axis of a panel, counted from the top; the last one, of perplexities, is logarithmic."""
    panels = len(PANEL_TITLES)
    height = (1 - (panels - 1) * PANEL_GAP) / panels
    top = 1 - panel * (height + PANEL_GAP)
    title = (
        f"log-probability of<br>{token_label(word, 14)} (nats a token)" if word and not panel else PANEL_TITLES[panel]
    )
    return value_axis(
        theme,
        title,
        domain=[max(0.0, top - height), top],
        zeroline=False,
        **(log_axis(values, decades=SMALL_PANEL) if panel == panels - 1 else {"nticks": 4}),
    ) | {"title": {"text": title, "font": {"size": 11, "color": look(theme).muted}, "standoff": 8}}


@in_any_theme
def steering_forecast(
    strengths: Float[np.ndarray, " S"],
    tokens: Sequence[str],
    real: Float[np.ndarray, "S m"],
    frozen: Float[np.ndarray, "S m"],
    tangent: Float[np.ndarray, "S m"],
    *,
    position: float | None = None,
    linear_until: float | None = None,
    theme: Theme = "light",
) -> Chart:
    """Logits of one or two next tokens over the strength: real passes, the frozen map's line, the derivative's line.

    Logits are less their mean over the vocabulary. Up to `linear_until` the derivative describes what happens.
    """
    colours = look(theme)
    x = np.asarray(strengths, dtype=np.float64)
    if real.shape != (len(x), len(tokens)) or real.shape != frozen.shape or real.shape != tangent.shape:
        raise ValueError(f"The forecast has shapes {real.shape}, {frozen.shape} and {tangent.shape}.")
    data: list[dict[str, Any]] = []
    kinds = (
        ("real", real, "solid", 2.5),
        ("frozen map", frozen, "dash", 1.5),
        ("derivative at 0", tangent, "dot", 1.5),
    )
    for j, token in enumerate(tokens):
        colour = (colours.muted, colours.accent)[(j + 2 - len(tokens)) % 2]
        name = token_label(token)
        for kind, values, dash, width in kinds:
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": x,
                    "y": values[:, j],
                    "line": {"color": colour, "width": width, "dash": dash},
                    "name": kind,
                    "showlegend": j == len(tokens) - 1,
                    "customdata": [printed(v) for v in values[:, j]],
                    "hovertemplate": f"λ = %{{x:.3g}}<br>{name}, {kind}: %{{customdata}}<extra></extra>",
                }
            )
    low, high = float(np.nanmin(real)), float(np.nanmax(real))
    room = 0.5 * (high - low) + 0.5
    layout = base_layout(theme, "steering-forecast", list(tokens), 320) | {
        "xaxis": value_axis(theme, "strength λ", zeroline=False, range=_padded(x)),
        # Straight lines leave the picture where they stop being true; what is real stays in it.
        "yaxis": value_axis(theme, "logit, less the mean", range=[low - room, high + room]),
        "showlegend": True,
        "legend": _legend_above(theme),
        "margin": {"l": 64, "r": 110, "t": 36, "b": 48},
        "shapes": [*_marks(theme, position), *_region(theme, linear_until)],
        "annotations": [
            _line_name(theme, token, float(x[-1]), real[-1, j], j, real[-1]) for j, token in enumerate(tokens)
        ],
    }
    table: dict[str, Any] = {
        "strength": [s for s in x.tolist() for _ in tokens],
        "token": [token for _ in x for token in tokens],
        "real": real.ravel().tolist(),
        "frozen_map": frozen.ravel().tolist(),
        "derivative": tangent.ravel().tolist(),
    }
    return Chart("steering-forecast", go.Figure(data=data, layout=layout), table)


@in_any_theme
def depth_guide(
    log_probability: Sequence[float],
    reads: Sequence[Sequence[tuple[str, float]]],
    word: str,
    *,
    depth: int | None = None,
    theme: Theme = "light",
) -> Chart:
    """Over the depth of the map: the log-probability of a word of the concept; the read-out is in the tooltip.

    `reads` holds (token, score) pairs for each depth from 1 on; `depth` marks the chosen one.
    """
    colours = look(theme)
    y = np.asarray(log_probability, dtype=np.float64)
    if len(reads) != len(y):
        raise ValueError(f"{len(reads)} read-outs for {len(y)} depths.")
    words = [" ".join(token_label(token, 12) for token, _ in row) for row in reads]
    chosen = [depth is not None and i + 1 == depth for i in range(len(y))]
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": list(range(1, len(y) + 1)),
            "y": y,
            "line": {"color": colours.accent, "width": 1.75},
            "marker": {"color": colours.accent, "size": [10 if c else 5 for c in chosen]},
            "customdata": [[word, printed(v)] for word, v in zip(words, y, strict=True)],
            "hovertemplate": "depth %{x}<br>log-probability %{customdata[1]}<br>%{customdata[0]}<extra></extra>",
            "name": "concept",
        }
    ]
    layout = base_layout(theme, "depth-guide", [word], 240) | {
        "xaxis": value_axis(theme, "depth of the map, in blocks", zeroline=False, range=[0.4, len(y) + 0.6]),
        "yaxis": value_axis(theme, f"log p of {token_label(word)}", zeroline=False),
        "shapes": _marks(theme, None if depth is None else float(depth)),
        "margin": {"l": 64, "r": 16, "t": 12, "b": 48},
    }
    table = {
        "depth": list(range(1, len(y) + 1)),
        "log_probability": y.tolist(),
        "reads_as": [" ".join(token for token, _ in row) for row in reads],
    }
    return Chart("depth-guide", go.Figure(data=data, layout=layout), table)


def _line_name(theme: Theme, token: str, x: float, y: float, j: int, ends: np.ndarray) -> dict[str, Any]:
    """A token's name at the end of its line, moved out of the other's way."""
    colours = look(theme)
    above = y >= float(np.mean(ends)) if len(ends) > 1 else True
    return {
        "x": x,
        "y": float(y),
        "xanchor": "left",
        "xshift": 12,
        "yshift": 7 if above else -7,
        "showarrow": False,
        "text": token_label(token, 12),
        "font": {"family": MONO, "size": 12, "color": (colours.muted, colours.accent)[(j + 2 - len(ends)) % 2]},
    }


def _padded(x: np.ndarray) -> list[float]:
    width = float(x.max() - x.min()) or 1.0
    return [float(x.min()) - 0.02 * width, float(x.max()) + 0.02 * width]


def _marks(theme: Theme, position: float | None, changes: Sequence[float] = ()) -> list[dict[str, Any]]:
    """Upright lines over all panels: where the slider is, and where the next token changes."""
    colours = look(theme)
    lines = [(position, colours.text, "solid"), *((at, colours.negative, "dot") for at in changes)]
    return [
        {
            "type": "line",
            "xref": "x",
            "yref": "paper",
            "x0": at,
            "x1": at,
            "y0": 0,
            "y1": 1,
            "line": {"color": colour, "width": 1.25, "dash": dash},
        }
        for at, colour, dash in lines
        if at is not None
    ]


def _tint(theme: Theme, first: float | None, last: float) -> list[dict[str, Any]]:
    if first is None:
        return []
    box = _region(theme, last)[0]
    return [box | {"x0": first, "x1": last, "fillcolor": look(theme).negative}]


def _region(theme: Theme, until: float | None) -> list[dict[str, Any]]:
    if not until:
        return []
    return [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": 0,
            "x1": until,
            "y0": 0,
            "y1": 1,
            "fillcolor": look(theme).accent,
            "opacity": 0.08,
            "line": {"width": 0},
            "layer": "below",
        }
    ]


def _change_notes(
    theme: Theme, changes: Sequence[tuple[float, str]], span: Sequence[float]
) -> tuple[list[dict[str, Any]], int]:
    """The new tokens' names above their lines, in as many rows as they need so that none meets another."""
    scale = NARROW / (span[1] - span[0])
    notes: list[dict[str, Any]] = []
    ends: list[float] = []  # of the rows, from the panels upwards, in pixels
    for at, token in sorted(changes):
        name = token_label(token, 12)
        width = LETTER * len(visible_token(token, 12)) + 8
        start = (at - span[0]) * scale
        leftwards = start + width > NARROW
        begin = start - width if leftwards else start
        row = next((i for i, end in enumerate(ends) if end <= begin), len(ends))
        ends[row : row + 1] = [begin + width]
        notes.append(
            {
                "x": at,
                "y": 1,
                "xref": "x",
                "yref": "paper",
                "xanchor": "right" if leftwards else "left",
                "yanchor": "bottom",
                "yshift": CHANGE_ROW * row,
                "showarrow": False,
                "text": name,
                "font": {"family": MONO, "size": 11, "color": look(theme).negative},
            }
        )
    return notes, len(ends)


def _legend_above(theme: Theme) -> dict[str, Any]:
    return {
        "orientation": "h",
        "x": 1,
        "xanchor": "right",
        "y": 1.02,
        "yanchor": "bottom",
        "font": {"size": 12, "color": look(theme).text},
        "bgcolor": "rgba(0,0,0,0)",
    }
