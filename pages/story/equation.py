"""Step 1: the prompt's words with their matrices, the word they predict, and both sides of the equation as numbers."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from eqlin_core.figures import format_error, visible_token
from eqlin_core.figures.palette import MONO, diverging_colour, look
from pages.widgets.facts import signed
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import TokenRun
    from pages.widgets.explained import Explained

SHOWN = 12  # words with a matrix each; of a longer prompt the last ones


def equation(run: TokenRun, explained: Explained) -> None:
    """Draw the words, then the two numbers that are equal."""
    terms, bias, total = run.split(explained.direction)
    summed = bias + float(np.sum(terms))
    st.html(_words(run, terms, bias, explained.first.token, explained.first.probability))
    st.html(_sides(summed, total, visible_token(explained.first.token)))
    exactness = run.exactness
    rounding = ", which is rounding" if exactness is not None and exactness.exact else ""
    measured = "" if exactness is None else f" The whole output embedding: {format_error(exactness.reconstruction)}."
    st.caption(
        f"J is a matrix of {run.width} × {run.width} numbers, another one for every word and every prompt. Times the "
        "word's embedding x it gives what the word adds, here read along the predicted word's direction. The two sides "
        f"differ by {format_error(abs(summed - total) / max(abs(total), 1e-30))} of the logit "
        f"({run.key.dtype}){rounding}.{measured}"
    )


def _words(run: TokenRun, terms: np.ndarray, bias: float, predicted: str, chance: float) -> str:
    colours = look(theme())
    reach = float(np.abs(terms).max(initial=0.0))
    left_out = max(0, len(run.tokens) - SHOWN)
    parts = []
    if left_out:
        rest = float(terms[:left_out].sum())
        parts.append(_part(f"{left_out} earlier", "J x", rest, diverging_colour(rest, reach, theme())))
    for i in range(left_out, len(run.tokens)):
        box = diverging_colour(float(terms[i]), reach, theme())
        parts.append(_part(visible_token(run.tokens[i], 14), f"J<sub>{i + 1}</sub> x<sub>{i + 1}</sub>", terms[i], box))
    if abs(bias) > 1e-12 * max(1.0, reach):
        parts.append(_part("constants", "b", bias, diverging_colour(bias, reach, theme())))
    plus = f'<span style="color:{colours.muted};align-self:center">+</span>'
    result = (
        f'<span style="align-self:center;color:{colours.muted}">→</span>'
        f'<div style="align-self:center;text-align:center"><div style="font-family:{escape(MONO)};font-size:1.15rem;'
        f'border:2px solid {colours.accent};border-radius:6px;padding:0.3rem 0.7rem">'
        f"{escape(visible_token(predicted))}</div>"
        f'<div style="color:{colours.muted};font-size:0.85rem;margin-top:0.3rem">next, {chance:.1%}</div></div>'
    )
    return (
        '<div class="eq-equation" style="display:flex;flex-wrap:wrap;gap:0.9rem 0.55rem;margin:1.2rem 0 1.4rem">'
        f"{plus.join(parts)}{result}</div>"
    )


def _part(word: str, name: str, term: float, box: tuple[str, str]) -> str:
    """A word over its matrix, coloured by its term, over the term."""
    background, ink = box
    grey = look(theme()).muted
    return (
        '<div style="text-align:center;min-width:4.6rem">'
        f'<div style="font-family:{escape(MONO)};font-size:1rem;margin-bottom:0.3rem">{escape(word)}</div>'
        f'<div style="background:{background};color:{ink};border:1px solid {ink}33;border-radius:4px;height:4.6rem;'
        f'display:flex;align-items:center;justify-content:center;font-style:italic;font-size:1.15rem">{name}</div>'
        f'<div style="color:{grey};font-family:{escape(MONO)};font-size:0.85rem">{signed(term)}</div>'
        "</div>"
    )


def _sides(summed: float, total: float, word: str) -> str:
    colours = look(theme())

    def side(number: float, name: str) -> str:
        return (
            f'<div><div style="font-family:{escape(MONO)};font-size:1.9rem;font-variant-numeric:tabular-nums">'
            f'{number:.5f}</div><div style="color:{colours.muted};font-size:0.9rem">{escape(name)}</div></div>'
        )

    return (
        '<div class="eq-sides" style="display:flex;gap:1.6rem;align-items:flex-start;margin:0.4rem 0 0.2rem">'
        f"{side(summed, 'the sum of all terms')}"
        f'<div style="font-size:1.9rem;color:{colours.accent}">=</div>'
        f"{side(total, f'the model’s own logit of {word}')}</div>"
    )
