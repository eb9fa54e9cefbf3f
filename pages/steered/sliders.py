"""The strength sliders with both texts: the browser holds every finished text, so the hand moves and the text follows.

Streamlit's own slider tells the server and waits for the answer. This component switches between results that are there
already, and tells the server a moment after the hand has stopped, for the charts below and the address.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from eqlin_core.figures.palette import MONO, look
from pages.steered.state import steering
from pages.widgets.theme import theme

_HTML = """
<div class="eq-sliders"></div>
<div class="eq-texts">
  <section class="eq-unsteered"><h2>Unsteered</h2><div></div></section>
  <section class="eq-steered"><h2></h2><div aria-live="polite"></div></section>
</div>
<div class="eq-numbers"></div>
"""

_JS = """
const SETTLED = 150;  // milliseconds after the last move until the server is told

export default function ({ data, parentElement, setStateValue }) {
  const find = name => parentElement.querySelector(name);
  const sliders = find(".eq-sliders");
  const inputs = () => [...sliders.querySelectorAll("input")];
  const shown = value => Number.isInteger(value * 100) || Math.abs(value * 100 - Math.round(value * 100)) < 1e-9
    ? value.toFixed(2) : value.toFixed(3);
  const chosen = () => inputs().map((input, i) => data.axes[i][Number(input.value)]);

  const rowOf = strengths => {
    let best = 0, least = Infinity;
    data.strengths.forEach((row, index) => {
      const distance = row.reduce((sum, value, i) => sum + (value - strengths[i]) ** 2, 0);
      if (distance < least) [best, least] = [index, distance];
    });
    return best;
  };

  const draw = () => {
    const row = rowOf(chosen());
    find(".eq-unsteered > div").innerHTML = data.unsteered;
    find(".eq-steered > div").innerHTML = data.texts[row];
    find(".eq-steered > h2").textContent = "Steered, λ = " + data.strengths[row].map(shown).join(" and ");
    find(".eq-numbers").innerHTML = data.numbers[row] || "";
    inputs().forEach((input, i) => {
      const value = data.axes[i][Number(input.value)].toFixed(2), share = input.value / Math.max(1, input.max);
      input.setAttribute("aria-valuetext", value);
      input.style.setProperty("--share", 100 * share + "%");
      input.parentElement.querySelector("output").textContent = value;
    });
  };

  const tell = () => {
    clearTimeout(sliders.settling);
    sliders.settling = null;
    setStateValue("chosen", chosen());
  };
  const moved = () => {
    sliders.dataset.touched = "by hand";
    draw();
    clearTimeout(sliders.settling);
    sliders.settling = setTimeout(tell, SETTLED);
  };
  // Whatever is pressed next, a preset say, comes after the move that went before it.
  const pressed = event => {
    if (sliders.settling && !sliders.contains(event.target)) tell();
  };
  document.addEventListener("pointerdown", pressed, true);

  if (sliders.dataset.grid !== data.grid) {
    sliders.dataset.grid = data.grid;
    delete sliders.dataset.touched;
    sliders.replaceChildren(...data.axes.map((axis, i) => {
      const label = document.createElement("label"), name = document.createElement("span");
      const value = document.createElement("output"), input = document.createElement("input");
      name.textContent = data.labels[i];
      Object.assign(input, { type: "range", min: 0, max: axis.length - 1, step: 1 });
      input.setAttribute("aria-label", data.labels[i]);
      input.value = data.places[i];
      label.append(name, value, input);
      return label;
    }));
  }
  // A strength that is suggested later, once the texts are measured; a hand that has moved the slider goes first.
  const suggested = String(data.suggested ?? "");
  if (suggested && sliders.dataset.suggested !== suggested && !sliders.dataset.touched)
    inputs()[0].value = data.places[0];
  sliders.dataset.suggested = suggested;
  inputs().forEach(input => { input.oninput = moved; });
  draw();
  return () => document.removeEventListener("pointerdown", pressed, true);
}
"""

_CSS = """
.eq-sliders { display: flex; gap: 3rem; margin-bottom: 1.2rem; }
.eq-sliders label { flex: 1; display: grid; grid-template-columns: 1fr auto; font-size: 0.9rem; row-gap: 0.5rem; }
.eq-sliders output { font-family: var(--eq-mono); color: var(--st-primary-color); }
.eq-sliders input { grid-column: 1 / -1; width: 100%; height: 1.1rem; margin: 0; cursor: pointer; appearance: none;
  -webkit-appearance: none; background: transparent; }
.eq-sliders input::-webkit-slider-runnable-track { height: 4px; border-radius: 2px; background:
  linear-gradient(to right, var(--st-primary-color) var(--share), var(--st-border-color) var(--share)); }
.eq-sliders input::-moz-range-track { height: 4px; border-radius: 2px; background: var(--st-border-color); }
.eq-sliders input::-moz-range-progress { height: 4px; border-radius: 2px; background: var(--st-primary-color); }
.eq-sliders input::-webkit-slider-thumb { -webkit-appearance: none; width: 16px; height: 16px; margin-top: -6px;
  border-radius: 50%; background: var(--st-primary-color); }
.eq-sliders input::-moz-range-thumb { width: 16px; height: 16px; border: 0; border-radius: 50%;
  background: var(--st-primary-color); }
.eq-sliders input:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 3px; border-radius: 3px; }
.eq-texts { display: grid; grid-template-columns: 1fr 1fr; gap: 3rem; margin-bottom: 0.8rem; }
.eq-texts section > div { height: 9.4rem; overflow-y: auto; }
.eq-numbers { min-height: 1.6rem; }
.eq-track { grid-column: 1 / -1; height: 1.1rem; background: center / 100% 4px no-repeat
  linear-gradient(var(--st-border-color), var(--st-border-color)); }
.eq-texts h2 { margin: 0 0 0.3rem; }
"""

_component = st.components.v2.component("eqlin_strengths", html=_HTML, css=_CSS, js=_JS, isolate_styles=False)
FARTHEST = 100.0  # beyond it the engine refuses
SLIDERS = "strength-sliders"
ROOM = "17.06rem"  # what the sliders and both texts take
_NAMES = ("lambda", "lambda2")
_STARTS = (1.0, 0.4)  # a second concept that is asked for shows at once
_LABELS = ("Strength λ", "Strength of the second concept")


@dataclass(frozen=True)
class Choices:
    """What the sliders choose from: strengths [rows][operators], each row's HTML, and that of the unsteered text."""

    strengths: Sequence[tuple[float, ...]]
    texts: Sequence[str]
    numbers: Sequence[str]
    unsteered: str


def kept(count: int) -> tuple[float, ...]:
    """Where the sliders of so many operators stand, as the server last heard of it."""
    return tuple(float(st.session_state.get(name, start)) for name, start in zip(_NAMES[:count], _STARTS, strict=False))


def put(strength: float) -> None:
    """Put the first slider where nobody has moved it."""
    st.session_state[_NAMES[0]] = strength
    st.query_params[_NAMES[0]] = f"{strength:g}"


def room() -> DeltaGenerator:
    """Where the sliders and both texts stand: as high before the browser has drawn them, and gone while texts grow."""
    place = st.container(key="strength-room")
    # Something is always in it, so that sliders which are not drawn in a run go at its end and not in its midst.
    place.html(
        f"<style>.eq-sliders {{ --eq-mono: {MONO}; accent-color: {look(theme()).accent}; }} "
        f".st-key-strength-room {{ min-height: {ROOM}; }} "
        ":root:has(.eq-growing) [data-testid=stLayoutWrapper]:has(> .st-key-strength-room) { display: none; }</style>"
    )
    return place


def growing(strength: Sequence[float], unsteered: str, steered: str) -> None:
    """In the place of the sliders and both texts: texts that grow, below tracks without a thumb."""
    tracks = "".join(
        f'<label><span>{label}</span><output>{value:.2f}</output><span class="eq-track"></span></label>'
        for label, value in zip(_LABELS, strength, strict=False)
    )
    colours = look(theme())  # Streamlit's own names of them are known within its components alone
    st.html(
        f"<style>.eq-sliders {{ --eq-mono: {MONO}; }} {_CSS}"
        f".eq-growing {{ --st-primary-color: {colours.accent}; --st-border-color: {colours.grid}; }}</style>"
        f'<div class="eq-sliders eq-growing">{tracks}</div><div class="eq-texts">'
        f'<section class="eq-unsteered"><h2>Unsteered</h2><div>{unsteered}</div></section>'
        f'<section class="eq-steered"><h2>Steered, λ = {shown_strength(tuple(strength))}</h2><div>{steered}</div>'
        '</section></div><div class="eq-numbers"></div>'
    )


def strengths(choices: Choices, suggested: float | None = None) -> int:
    """Draw the sliders and both texts; the row they stand at, as the server last heard of it.

    ``suggested`` is where the first slider was ``put``, and goes unless a hand has moved it.
    """
    axes = [sorted({row[i] for row in choices.strengths}) for i in range(len(choices.strengths[0]))]
    at = kept(len(axes))
    places = [min(range(len(axis)), key=lambda j: abs(axis[j] - value)) for axis, value in zip(axes, at, strict=True)]
    data = {
        "axes": axes,
        "strengths": [list(row) for row in choices.strengths],
        "texts": list(choices.texts),
        "numbers": list(choices.numbers),
        "unsteered": choices.unsteered,
        "labels": list(_LABELS[: len(axes)]),
        "places": places,
        "suggested": suggested,
    }
    # A grid of its own begins where the preset or the last grid left off; a late metric is no new grid.
    data["grid"] = f"{zlib.crc32(repr((axes, choices.texts, choices.unsteered)).encode()):08x}"
    _component(key=SLIDERS, data=data, on_chosen_change=_take)
    return nearest(choices.strengths, at)


def nearest(strengths: Sequence[tuple[float, ...]], wanted: tuple[float, ...]) -> int:
    """The row whose strengths are closest to those wanted."""
    distances = [sum((a - b) ** 2 for a, b in zip(s, wanted, strict=False)) for s in strengths]
    return int(np.argmin(distances))


def shown_strength(strength: tuple[float, ...]) -> str:
    """The strengths as headings print them."""
    return " and ".join(f"{s:.2f}" if round(s, 2) == s else f"{s:.3f}" for s in strength)


def _take() -> None:
    """Keep where the sliders were left, for the charts, the next grid and the text in between."""
    state: Any = st.session_state[SLIDERS]
    steering().placed = True
    for name, value in zip(_NAMES, state["chosen"] or (), strict=False):
        st.session_state[name] = float(value)
        st.query_params[name] = f"{value:g}"


def from_address() -> None:
    """Put the sliders where the address says; what is no number there is left out, and a far one meets the end."""
    for name in _NAMES:
        try:
            value = float(st.query_params.get(name, ""))
        except ValueError:
            continue
        if math.isfinite(value):
            steering().placed = True
            st.session_state[name] = min(max(value, 0.0), FARTHEST)
