"""Whether the page is presented, and charts whose text is then larger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from eqlin_core.figures import Chart

PRESENT, WIDE = "present", "present_wide"
_FONTS = ("font", "tickfont", "textfont", "insidetextfont", "outsidetextfont", "title_font")


@dataclass(frozen=True)
class Scale:
    """How much larger the text and the height of charts are than on the desk."""

    text: float
    height: float


ON_THE_DESK, PRESENTED, ON_A_WIDE_SCREEN = Scale(1.0, 1.0), Scale(1.35, 1.0), Scale(1.9, 1.4)


def presents() -> bool:
    """Whether present mode is on."""
    return bool(st.session_state.get(PRESENT, st.query_params.get(PRESENT) == "true"))


def scale() -> Scale:
    """The size of charts: larger where the page is presented, by more on a screen of many pixels."""
    if not presents():
        return ON_THE_DESK
    return ON_A_WIDE_SCREEN if st.session_state.get(WIDE) else PRESENTED


def enlarged(chart: Chart) -> Chart:
    """The chart with every text in it larger where present mode is on, and with room for it."""
    by = scale()
    if by != ON_THE_DESK:
        figure = chart.figure
        figure.update(_larger(figure.to_dict(), by.text))
        if figure.layout.height is not None:
            figure.layout.height = round(figure.layout.height * by.height)
    return chart


def _larger(part: Any, factor: float) -> Any:
    """The fonts of a figure and nothing else, so that its numbers are not touched."""
    if isinstance(part, list | tuple):
        parts = [_larger(one, factor) for one in part]
        return parts if any(parts) else None
    if not isinstance(part, dict):
        return None
    found = {key: _font(value, factor) if key in _FONTS else _larger(value, factor) for key, value in part.items()}
    return {key: value for key, value in found.items() if value}


def _font(font: Any, factor: float) -> Any:
    size = font.get("size") if isinstance(font, dict) else None
    return {"size": round(size * factor)} if isinstance(size, int | float) else None
