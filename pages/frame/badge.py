"""The exactness badge, and the proof behind it: both errors with their bounds, how every module was frozen, leaks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.figures import format_error
from eqlin_core.runs.convention import Convention
from eqlin_core.runs.treatments import Treatment, attends, gated
from pages.frame.precision import check_in_float64

if TYPE_CHECKING:
    from eqlin_core.runs.exactness import Exactness
    from eqlin_core.runs.prompt import TokenRun


def badge(exactness: Exactness, run: TokenRun) -> None:
    """Draw the badge of a run; a click opens the panel that says what it rests on."""
    word, colour = ("exact", "green") if exactness.exact else ("not exact", "red")
    if exactness.products == "tf32":
        word += " in TF32"
    label = f":{colour}-badge[{word}] error {format_error(exactness.reconstruction)}"
    with st.popover(label, help="How exact this run is"):
        st.markdown(
            f"The sum of all tokens' contributions reproduces the model's output embedding up to a relative error of "
            f"**{format_error(exactness.reconstruction)}** in {exactness.arithmetic}."
        )
        for leak in exactness.leaks:
            st.markdown(f":red[Leak:] `{leak}`")
        _errors(exactness, run.bounds)
        st.caption(
            "Reconstruction compares the linear map with the frozen network; forward compares the frozen network with "
            "the untouched model, which computes its norms and its softmax in float32 whatever the precision."
        )
        if run.key.dtype != "float64":
            check_in_float64()
        if run.treatments:
            held = _held(run.key.convention, gated(run.treatments), attends(run.treatments))
            _modules(run.treatments)
            st.caption(
                f"Every module of the decoder, and how it was frozen at this prompt. {held} "
                "`python -m eqlin_core.audit` prints this for any model."
            )


def _held(convention: Convention, has_gates: bool, has_attention: bool) -> str:
    """What the two dials hold, in words."""
    a, c = convention.gate_share, convention.weight_share
    up = "act(gate) is held at its value, and up(x) stays linear"
    gate = "up(x) is held, and act(g) = s(g) g with s held stays linear"
    said = []
    if has_gates:
        half = f"{1 - a:.3g} of the product: {up}; {a:.3g} of it: {gate}"
        said.append(f"In every gated MLP, {up if a == 0 else gate if a == 1 else half}.")
    if c and has_attention:
        said.append(
            f"{c:.3g} of what attention mixes goes by its weights, which follow queries and keys by their derivative."
        )
    return " ".join(said)


def _errors(exactness: Exactness, bounds: tuple[float, float]) -> None:
    rows = [
        ("reconstruction", "‖Σ Jᵢxᵢ + b − y‖ / ‖y‖", exactness.reconstruction, bounds[0]),
        ("forward", "‖y − y stock‖ / ‖y stock‖", exactness.forward, bounds[1]),
    ]
    body = "".join(
        f"<tr><td>{name}</td><td>{formula}</td><td class='eq-n'>{format_error(value)}</td>"
        f"<td class='eq-n'>{format_error(bound)}</td></tr>"
        for name, formula, value, bound in rows
    )
    st.html(
        "<table class='eq-table eq-errors'><tr><th>error</th><th></th><th class='eq-n'>this run</th>"
        f"<th class='eq-n'>bound, {exactness.arithmetic}</th></tr>{body}</table>"
    )


def _modules(rows: list[Treatment]) -> None:
    body = "".join(
        f"<tr{' class=eq-leak' if row.leaks else ''} title='{escape(row.example, quote=True)}'>"
        f"<td class='eq-m'>{escape(row.class_name)}</td><td class='eq-n'>{row.count}</td>"
        f"<td>{escape(row.how)}</td></tr>"
        for row in rows
    )
    st.html(
        "<table class='eq-table eq-modules'><tr><th>module class</th><th class='eq-n'>count</th><th>frozen</th></tr>"
        f"{body}</table>"
    )
