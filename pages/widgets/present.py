"""Whether the page is presented, and charts whose text is then larger."""

from __future__ import annotations

from typing import Any

import streamlit as st

from eqlin_core.figures import Chart

PRESENT = "present"
LARGER = 1.35
_FONTS = ("font", "tickfont", "textfont", "insidetextfont", "outsidetextfont", "title_font")


def presents() -> bool:
    """Whether present mode is on."""
    return bool(st.session_state.get(PRESENT, st.query_params.get(PRESENT) == "true"))


def enlarged(chart: Chart) -> Chart:
    """The chart with every text in it larger where present mode is on."""
    if presents():
        chart.figure.update(_larger(chart.figure.to_dict()), overwrite=True)
    return chart


def _larger(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _font(value) if key in _FONTS else _larger(value) for key, value in part.items()}
    return [_larger(value) for value in part] if isinstance(part, list | tuple) else part


def _font(font: Any) -> Any:
    size = font.get("size") if isinstance(font, dict) else None
    return font | {"size": round(size * LARGER)} if isinstance(size, int | float) else font
