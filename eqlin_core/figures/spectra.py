"""Charts of the token matrices' spectra: singular values and stable ranks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .labels import printed
from .layout import BAR, base_layout, colour_bar, hover_tokens, log_axis, token_axis, token_labels, value_axis
from .palette import FADED, MONO, Theme, highlighted, look, token_colours, token_scale
from .results import Spectra, as_array, tokens_of

VALUE_LABELS = 20  # up to so many bars carry their number
LEGEND_TOKENS = 18  # more lines than this are not told apart by a legend: a colour bar of positions replaces it


@in_any_theme
def singular_values(
    S: Float[np.ndarray, "tokens k"] | Spectra,
    tokens: Sequence[str] | None = None,
    *,
    log: bool = True,
    normalised: bool = False,
    highlight: int | None = None,
    theme: Theme = "light",
) -> Chart:
    """The singular values sigma_1..sigma_k of every token's matrix, as one line a token.

    S is the values, or a spectrum, which may know its tokens. `normalised` divides each line by its sigma_1;
    `highlight` is the position of the token whose line stands out. Tokens whose values are NaN are not known yet, and
    left out. Raises ValueError for a joint spectrum, and without tokens.
    """
    tokens = tokens_of(S, tokens)
    absolute = as_array(S.S if isinstance(S, Spectra) else S)
    if absolute.ndim != 2:
        raise ValueError("Singular values of each token are drawn, not those of all together: see joint_spectrum.")
    T, k = absolute.shape
    if len(tokens) != T:
        raise ValueError(f"{T} spectra for {len(tokens)} tokens.")
    there = [i for i in range(T) if not np.isnan(absolute[i]).any()]
    first = absolute[:, :1]
    relative = np.divide(absolute, first, out=np.zeros_like(absolute), where=first > 0)
    drawn = relative if normalised else absolute
    shown = np.where(drawn > 0, drawn, np.nan) if log else drawn
    hovered = np.frompyfunc(printed, 1, 1)(np.stack([absolute, relative], axis=-1))  # [tokens, k, 2]
    data = _lines(shown, hovered, tokens, there, highlight if highlight in there else None, theme)
    if len(there) > LEGEND_TOKENS:
        data.append(_position_bar(T, theme))
    layout = base_layout(theme, "singular-values", tokens, height=440) | {
        "showlegend": T > 1 and len(there) <= LEGEND_TOKENS,
        "legend": _legend(theme),
        "xaxis": value_axis(theme, "index k of the singular value", zeroline=False) | index_ticks(k),
        "yaxis": value_axis(
            theme,
            "σₖ / σ₁" if normalised else "singular value σₖ",
            uirevision=f"log {log}, normalised {normalised}",  # another scale needs another range
            **(log_axis(drawn) if log else {"rangemode": "tozero"}),
        ),
    }
    table: dict[str, list[Any]] = {
        "position": [i for i in there for _ in range(k)],
        "token": [tokens[i] for i in there for _ in range(k)],
        "k": [j + 1 for _ in there for j in range(k)],
        "sigma": absolute[there].ravel().tolist(),
        "sigma_over_sigma_1": relative[there].ravel().tolist(),
    }
    return Chart("singular-values", go.Figure(data=data, layout=layout), table)


@in_any_theme
def stable_ranks(
    values: Float[np.ndarray, " tokens"] | Spectra,
    tokens: Sequence[str] | None = None,
    *,
    log: bool = False,
    highlight: int | None = None,
    theme: Theme = "light",
) -> Chart:
    """The stable rank ||J_i||_F^2 / sigma_1^2 of every token's matrix; the dotted line is 1, its least value.

    `values` is the ranks, or a spectrum, which may know its tokens. Raises ValueError for a joint spectrum, and without
    tokens.
    """
    tokens = tokens_of(values, tokens)
    ranks = as_array(values.stable_rank if isinstance(values, Spectra) else values)
    if ranks.ndim != 1:
        raise ValueError("Stable ranks of each token are drawn, not the one of all together.")
    T = len(tokens)
    if len(ranks) != T:
        raise ValueError(f"{len(ranks)} stable ranks for {T} tokens.")
    hover = hover_tokens(tokens)
    numbers = [printed(rank) for rank in ranks]
    bars: dict[str, Any] = {
        "type": "bar",
        "x": list(range(T)),
        "y": ranks.tolist(),
        "width": BAR,
        "marker": {
            "color": highlighted(token_colours(T, theme), highlight, theme),
            "line": {"width": 0},
        },
        "customdata": [[hover[i], i, numbers[i]] for i in range(T)],
        "hovertemplate": "%{customdata[0]}  position %{customdata[1]}<br>stable rank %{customdata[2]}<extra></extra>",
        "name": "stable rank",
        "cliponaxis": False,
    }
    if T <= VALUE_LABELS:
        bars |= {
            "text": numbers,
            "textposition": "outside",
            "textangle": 0,
            "textfont": {"family": MONO, "size": 11, "color": look(theme).text},
        }
    layout = base_layout(theme, "stable-ranks", tokens, 340, token_labels(tokens)) | {
        "xaxis": token_axis(theme, tokens),
        "yaxis": value_axis(
            theme,
            "stable rank",
            uirevision=f"log {log}",
            **(log_axis(np.append(ranks, 1.0)) | {"range": _log_range(ranks)} if log else {"rangemode": "tozero"}),
        ),
        "shapes": [
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": 1,
                "y1": 1,
                "line": {"color": look(theme).muted, "width": 1, "dash": "dot"},
                "layer": "below",
            }
        ],
    }
    table = {"position": list(range(T)), "token": list(tokens), "stable_rank": ranks.tolist()}
    return Chart("stable-ranks", go.Figure(data=[bars], layout=layout), table)


def _lines(
    shown: np.ndarray,
    hovered: np.ndarray,
    tokens: Sequence[str],
    there: Sequence[int],
    highlight: int | None,
    theme: Theme,
) -> list[dict[str, Any]]:
    """One line for each token that is there, the highlighted one last, so that it lies on top."""
    T, k = shown.shape
    lines = len(there)
    colours = token_colours(T, theme)
    hover, labels = hover_tokens(tokens), token_labels(tokens)
    few = lines <= LEGEND_TOKENS
    index = np.arange(1, k + 1)
    # many lines over one another add up: the more there are, the fainter each one is
    crowd = (FADED if highlight is not None else 0.8) / max(1.0, lines / 100)
    traces = []
    for i in sorted(there, key=lambda position: position == highlight):
        chosen = i == highlight
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if few or chosen or k == 1 else "lines",
                "x": index,
                "y": shown[i],
                "line": {"color": colours[i], "width": 3 if chosen else 1.75 if few else 1.25 if lines <= 60 else 1},
                "marker": {"color": colours[i], "size": 7 if chosen else 5},
                "opacity": 1.0 if chosen or (few and highlight is None) else crowd,
                "name": labels[i],
                "legendrank": i + 1,
                "customdata": hovered[i],
                "hovertemplate": f"{hover[i]}  position {i}<br>k = %{{x}}<br>σₖ %{{customdata[0]}}"
                "<br>σₖ / σ₁ %{customdata[1]}<extra></extra>",
            }
        )
    return traces


def index_ticks(k: int) -> dict[str, Any]:
    """Ticks at 1 and at round indices."""
    step = next(step for step in (1, 5, 10, 20, 50, 100, 200, k) if k / step <= 12)
    ticks = [1, *range(step, k + 1, step)] if step > 1 else list(range(1, k + 1))
    margin = max(0.5, 0.02 * k)
    return {"tickmode": "array", "tickvals": ticks, "range": [1 - margin, k + margin]}


def _log_range(ranks: np.ndarray) -> list[float]:
    """Powers of ten from a little below 1 to a little above the largest stable rank."""
    top = float(np.log10(max(np.nanmax(ranks, initial=1.0), 1.0)))
    return [-0.04 * (top + 1), 1.08 * top + 0.1]


def _position_bar(T: int, theme: Theme) -> dict[str, Any]:
    """An empty trace whose colour bar says which position has which colour."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [None],
        "y": [None],
        "hoverinfo": "skip",
        "marker": {
            "color": [0],
            "cmin": 0,
            "cmax": T - 1,
            "colorscale": token_scale(theme),
            "colorbar": colour_bar(theme, "position"),
        },
    }


def _legend(theme: Theme) -> dict[str, Any]:
    return {
        "font": {"family": MONO, "size": 12, "color": look(theme).text},
        "bgcolor": "rgba(0,0,0,0)",
        "itemsizing": "trace",
        "tracegroupgap": 0,
        "x": 1.01,
        "y": 1,
    }
