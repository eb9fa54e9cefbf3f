"""The few styles that Streamlit's theme does not cover: the strip, small tables, tighter page margins."""

from __future__ import annotations

import streamlit as st

from eqlin_core.figures.palette import MONO, look
from pages.frame.announce import KEY
from pages.widgets.theme import theme


def wordmark() -> str:
    """The product's name as an SVG picture in the theme's colours."""
    colours = look(theme())
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="150" height="34" viewBox="0 0 150 34">'
        f'<text x="0" y="25" font-family="Georgia, serif" font-size="25" fill="{colours.text}">eqlin</text>'
        f'<text x="64" y="24" font-family="Georgia, serif" font-style="italic" font-size="15" '
        f'fill="{colours.accent}">y = Σ Jx</text></svg>'
    )


def apply() -> None:
    """Add the styles to the page, in the colours of the theme."""
    colours = look(theme())
    st.html(
        f"""<style>
        .stMainBlockContainer {{ padding: 4.2rem 2.2rem 3rem; max-width: 1680px; }}
        .eq-strip {{ display: flex; flex-wrap: wrap; gap: 0.25rem 1.4rem; align-items: baseline; font-size: 0.9rem; }}
        .eq-fact {{ color: {colours.text}; }}
        .eq-fact b {{ color: {colours.muted}; font-weight: 400; margin-right: 0.25rem; }}
        .eq-chip {{ font-family: {MONO}; font-size: 0.85rem; padding: 0 0.35rem; border-radius: 4px;
                    border: 1px solid {colours.grid}; margin-left: 0.45rem; }}
        .eq-p {{ color: {colours.muted}; font-size: 0.8rem; margin-left: 0.25rem; font-variant-numeric: tabular-nums; }}
        .eq-table {{ border-collapse: collapse; font-size: 0.88rem; }}
        .eq-table td, .eq-table th {{ padding: 0.15rem 0.7rem 0.15rem 0; text-align: left; font-weight: 400;
                                      border-bottom: 1px solid {colours.grid}; }}
        .eq-table th {{ color: {colours.muted}; }}
        .eq-table .eq-n {{ text-align: right; font-variant-numeric: tabular-nums; font-family: {MONO}; }}
        .eq-modules .eq-m {{ font-family: {MONO}; font-size: 0.8rem; }}
        .eq-modules .eq-leak td {{ font-weight: 600; }}
        .st-key-strip {{ border-bottom: 1px solid {colours.grid}; padding-bottom: 0.5rem; }}
        [data-testid="stLayoutWrapper"]:has(> [data-testid="stVerticalBlock"]:empty) {{ display: none; }}
        .st-key-theme_watch, .st-key-present_keys {{ position: absolute; width: 1px !important; overflow: hidden; }}
        [data-testid="stLayoutWrapper"]:has(> .st-key-{KEY}) {{ position: absolute; width: 1px; height: 1px;
                                                               overflow: hidden; clip-path: inset(50%); }}
        [data-testid="stCaptionContainer"] {{ color: {colours.muted}; opacity: 1; }}
        button[kind^="primary"]:not(:disabled), button[kind^="primary"]:not(:disabled) p {{
            color: {colours.background}; }}
        h1 {{ font-size: 1.5rem !important; font-weight: 600 !important; padding: 0 !important; }}
        @media (max-width: 640px) {{  /* numbers that have no room: a tap says them */
            .heatmap-label, .st-key-heatmap .textpoint text, .st-key-waterfall .annotation,
            .st-key-story-waterfall .annotation, .st-key-leave-one-out .bartext {{ visibility: hidden; }}
        }}
        h2 {{ font-size: 1.15rem !important; font-weight: 600 !important; padding-bottom: 0 !important; }}
        </style>"""
    )
