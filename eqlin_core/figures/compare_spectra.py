"""Charts of two runs' spectra, A and B: singular values one over the other, and angles between leading subspaces."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .chart import Chart, in_any_theme
from .compare_panels import mark
from .compare_rows import pair_label
from .labels import printed, text_label
from .layout import HOVER_WIDTH, base_layout, legend_above, log_axis, value_axis
from .palette import Theme, other_colours, pair_colours
from .spectra import index_ticks

FAINT = 0.5  # opacity of the lines beside a highlighted pair, or of many
DASHES = ("solid", "dash")
SYMBOLS = ("circle", "square", "triangle-up", "x")
MOST_SUBSPACES = 4  # that colours tell apart


@in_any_theme
def compared_spectra(
    S_a: Float[np.ndarray, "tokens k"],
    S_b: Float[np.ndarray, "tokens k"],
    tokens: Sequence[tuple[str | None, str | None]],
    *,
    log: bool = True,
    normalised: bool = False,
    highlight: int | None = None,
    theme: Theme = "light",
) -> Chart:
    """The singular values sigma_1..sigma_k of aligned tokens' matrices, as a line of A's and a line of B's for each.

    `tokens` are the aligned tokens, in A and in B. `normalised` divides each line by its sigma_1; `highlight` is the
    row whose two lines stand out. Raises ValueError where the numbers of rows differ, and without one.
    """
    absolute = np.stack([np.asarray(S, dtype=np.float64) for S in (S_a, S_b)])
    n, k = absolute.shape[1:]
    if len(tokens) != n or n == 0:
        raise ValueError(f"{n} spectra of each run for {len(tokens)} aligned tokens.")
    first = absolute[..., :1]
    relative = np.divide(absolute, first, out=np.zeros_like(absolute), where=first > 0)
    drawn = relative if normalised else absolute
    shown = np.where(drawn > 0, drawn, np.nan) if log else drawn
    order = sorted(range(n), key=lambda row: row == highlight)
    data = [
        _line(run, shown[run, row], absolute[run, row], pair_label(tokens[row], HOVER_WIDTH), theme)
        | {"opacity": 1.0 if n == 1 or row == highlight else FAINT, "showlegend": row == order[-1]}
        for row in order
        for run in (0, 1)
    ]
    layout = base_layout(theme, "compared-spectra", [str(pair) for pair in tokens], height=400) | {
        "showlegend": True,
        "legend": legend_above(theme),
        "xaxis": value_axis(theme, "index k of the singular value", zeroline=False) | index_ticks(k),
        "yaxis": value_axis(
            theme,
            "σₖ / σ₁" if normalised else "singular value σₖ",
            uirevision=f"log {log}, normalised {normalised}",
            **(log_axis(drawn) if log else {"rangemode": "tozero"}),
        ),
    }
    table: dict[str, list[Any]] = {
        "token_a": ["" if a is None else a for a, _ in tokens for _ in range(k)],
        "token_b": ["" if b is None else b for _, b in tokens for _ in range(k)],
        "k": [j + 1 for _ in tokens for j in range(k)],
        "sigma_a": absolute[0].ravel().tolist(),
        "sigma_b": absolute[1].ravel().tolist(),
    }
    return Chart("compared-spectra", go.Figure(data=data, layout=layout), table)


@in_any_theme
def subspace_angles(angles: Mapping[str, Float[np.ndarray, " k"]], *, name: str = "", theme: Theme = "light") -> Chart:
    """The principal angles between a leading subspace of A and that of B, by index: one line for each named pair.

    `angles` are in degrees, rising; `name` says in the axis title whose they are ("·France → ·Italy"). Raises
    ValueError without any, for more than 4 pairs, and for an angle that is none.
    """
    values = {label: np.asarray(found, dtype=np.float64) for label, found in angles.items()}
    if not 1 <= len(values) <= MOST_SUBSPACES:
        raise ValueError(
            f"There are angles of {len(values)} pairs of subspaces; 1 to {MOST_SUBSPACES} can be told apart."
        )
    if wrong := [label for label, found in values.items() if not ((found >= 0) & (found <= 90 + 1e-9)).all()]:
        raise ValueError(f"Principal angles are 0 to 90 degrees, not those of {wrong[0]!r}.")
    data = []
    for (label, found), colour, symbol in zip(values.items(), other_colours(theme), SYMBOLS, strict=False):
        said = text_label(label)
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": list(range(1, len(found) + 1)),
                "y": found.tolist(),
                "line": {"color": colour, "width": 2},
                "marker": {"symbol": symbol, "size": 8, "color": colour},
                "name": said,
                "customdata": [printed(angle) for angle in found],
                "hovertemplate": f"{said}<br>k = %{{x}}<br>angle %{{customdata}}°<extra></extra>",
                "cliponaxis": False,
            }
        )
    most = max(len(found) for found in values.values())
    whose = f" of {text_label(name)}" if name else ""
    layout = base_layout(theme, "subspace-angles", [*values, name, str(most)], height=340) | {
        "showlegend": True,
        "legend": legend_above(theme),
        "xaxis": value_axis(theme, "index of the principal angle", zeroline=False) | index_ticks(most),
        "yaxis": value_axis(theme, f"principal angle{whose}", range=[0, 92], dtick=15, ticksuffix="°"),
    }
    table: dict[str, list[Any]] = {
        "subspaces": [label for label, found in values.items() for _ in found],
        "index": [i + 1 for found in values.values() for i in range(len(found))],
        "degrees": [angle for found in values.values() for angle in found.tolist()],
    }
    return Chart("subspace-angles", go.Figure(data=data, layout=layout), table)


def _line(run: int, shown: np.ndarray, absolute: np.ndarray, token: str, theme: Theme) -> dict[str, Any]:
    """One spectrum of A (0) or B (1)."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(range(1, len(shown) + 1)),
        "y": shown,
        "line": {"color": pair_colours(theme)[run], "width": 2, "dash": DASHES[run]},
        "marker": mark(run, theme) | {"size": 7},
        "name": "AB"[run],
        "legendgroup": "AB"[run],
        "customdata": [printed(sigma) for sigma in absolute],
        "hovertemplate": f"{'AB'[run]}  {token}<br>k = %{{x}}<br>σₖ %{{customdata}}<extra></extra>",
    }
