"""Tokens as HTML chips, coloured by their signed contribution."""

from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import Float

from .labels import Explained, printed, target_name, visible_token
from .palette import MONO, Theme, diverging_colour, look

CHIP_WIDTH = 40  # characters of one chip before the ellipsis


def chips_html(
    tokens: Sequence[str],
    values: Float[np.ndarray, " tokens"] | Sequence[float],
    limit: float | None = None,
    theme: Theme = "light",
    *,
    selected: int | None = None,
    explained: Explained | None = None,
) -> str:
    """The tokens as one HTML block of chips that wraps; a chip's colour is its value on the scale -limit..limit.

    `limit` defaults to the largest size. The tooltip has token, position, and the value as a part of `explained`.
    """
    if len(values) != len(tokens):
        raise ValueError(f"{len(values)} values for {len(tokens)} tokens.")
    sizes = [abs(float(v)) for v in values if np.isfinite(v)]
    reach = limit if limit is not None else max(sizes, default=0.0)
    name = _explained_name(explained)
    chips = "".join(
        _chip(
            escape(visible_token(token, CHIP_WIDTH)),
            escape(f"{visible_token(token)}  position {i}: {printed(value, signed=True)}{name}"),
            diverging_colour(value, reach, theme),
            look(theme).text if i == selected else None,
        )
        + ("<br>" if token.endswith("\n") else "")
        for i, (token, value) in enumerate(zip(tokens, map(float, values), strict=True))
    )
    return (
        f'<div role="list" dir="ltr" style="font-family:{escape(MONO)};font-size:0.9rem;line-height:2.1;'
        f'overflow-wrap:anywhere">{chips}</div>'
    )


def _chip(text: str, title: str, colours: tuple[str, str], outline: str | None) -> str:
    background, ink = colours
    edge = f"outline:2px solid {outline};outline-offset:1px;" if outline else ""
    return (
        f'<span role="listitem" dir="auto" title="{title}" style="display:inline-block;line-height:1.5;margin:0 2px;'
        f"padding:0 6px;border-radius:4px;border:1px solid {ink}22;{edge}"
        f'background-color:{background};color:{ink};white-space:pre-wrap">{text}</span>'
    )


def _explained_name(explained: Explained | None) -> str:
    if explained is None:
        return ""
    names = (explained,) if isinstance(explained, str) else explained
    return " of the " + " − ".join(f"{target_name(token)} of {visible_token(token, CHIP_WIDTH)}" for token in names)
