"""The freezing rules as switches, and what the sum of the J_i x_i makes of the output when some are off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_error, format_number
from eqlin_core.runs.treatments import mixer
from pages.matrices.jobs import reconstruction
from pages.visit.page_jobs import page_jobs, waiting
from pages.widgets.charts import show
from pages.widgets.theme import theme
from pages.worker.request import Request

if TYPE_CHECKING:
    from eqlin_core.runs.matrix import Reconstruction
    from eqlin_core.runs.prompt import TokenRun

# The rules of eqlin_core.maps.partial_freezing, which is imported on the worker's thread only, and what each one holds.
RULES = {
    "attention": ("attention", "The softmax weights of every head are held at their values for this prompt."),
    "norms": ("norms", "The denominators of all normalisations are held."),
    "gates": ("gates", "The gates of gated MLPs, activations, and the routers of experts are held."),
}
_MIXERS = ("mixers", "What mixes positions is held: attention weights, and the coefficients of recurrences.")
EVERY = tuple(RULES)
LEAKS_SHOWN = 5
DETACHED, ORDINARY = "detached: every rule on", "ordinary: every rule off"


def draw_reconstruction(request: Request, run: TokenRun) -> tuple[str, ...]:
    """The switches with their badge, the scatter plot and the error histogram; gives the rules that are on."""
    st.header("What freezing is for: does Σ Jᵢxᵢ give the output?")
    st.caption(
        "Frozen, the network is linear and the sum of all Jᵢxᵢ is its output. Switch a rule off and Jᵢ becomes the "
        "derivative through that part as well: the sum misses the output. With every rule off Jᵢ is the ordinary "
        "Jacobian."
    )
    with st.container(horizontal=True, vertical_alignment="center", key="freezing"):
        on = tuple(rule for rule, (label, help) in _rules(run).items() if _switch(rule, label, help))
        place = st.container(key="freezing-badge", width="content")
    reconstructions = {
        rules: page_jobs().want(_name(rules), reconstruction(request, rules))
        for rules in dict.fromkeys((EVERY, (), on))
    }
    now = reconstructions[on]
    with place:
        _badge(_off(on, run), now)
    named: dict[str, Reconstruction] = {}
    for rules, name in ((EVERY, DETACHED), ((), ORDINARY), (on, f"as switched: {_off(on, run)} off")):
        one = reconstructions[rules]
        if one is not None and rules not in [r.frozen for r in named.values()]:
            named[name] = one
    if not named:
        waiting(_name(on), "the reconstruction")
        return on
    sums = {name: one.reconstructed for name, one in named.items()}
    left, right = st.columns(2, gap="medium")
    with left:
        show(
            figures.reconstruction_scatter(run.output, sums, theme=theme()),
            "reconstruction",
            f"{run.width} dimensions; equal on the dotted line ({run.key.dtype}).",
        )
    with right:
        errors = ", ".join(f"{name.split(':')[0]} {_error(one)}" for name, one in named.items())
        show(
            figures.error_histogram(run.output, sums, theme=theme()),
            "reconstruction-errors",
            f"Relative errors: {errors} ({run.key.dtype}).",
        )
    return on


def _rules(run: TokenRun) -> dict[str, tuple[str, str]]:
    """The rules by what they hold of this model."""
    return RULES if mixer(run.treatments) == "attention" else RULES | {"attention": _MIXERS}


def _switch(rule: str, label: str, help: str) -> bool:
    return st.toggle(f"Hold {label}", True, key=f"hold_{rule}", bind="query-params", help=help)


def _badge(off: str, now: Reconstruction | None) -> None:
    """The exactness badge of the switches: green with every rule on, red as soon as the sum misses the output."""
    if now is None:
        st.badge("computing", color="gray")
        return
    word, colour = ("exact", "green") if now.exact else ("not exact", "red")
    with st.popover(f":{colour}-badge[{word}] error {_error(now)}", help="Does Σ Jᵢxᵢ + b give y?"):
        if now.exact:
            st.markdown("Every rule is on: the sum of all Jᵢxᵢ is the model's output embedding, up to rounding.")
        else:
            st.markdown(
                f"With {off} off the sum of all Jᵢxᵢ misses the output embedding by **{_error(now)}** times its length."
            )
        st.html(
            "<table class='eq-table'><tr><th>error</th><th></th><th class='eq-n'>now</th>"
            f"<th class='eq-n'>bound, {now.dtype}</th></tr><tr><td>reconstruction</td><td>‖Σ Jᵢxᵢ + b − y‖ / ‖y‖</td>"
            f"<td class='eq-n'>{_error(now)}</td><td class='eq-n'>{format_error(now.bound)}</td></tr>"
            "</table>"
        )
        if now.leaks:
            st.caption(f"{len(now.leaks)} operations are not linear any more, the first of them:")
        for leak in now.leaks[:LEAKS_SHOWN]:
            st.markdown(f":red[Leak:] `{leak}`")


def _error(one: Reconstruction) -> str:
    return format_error(one.error) if one.error < 0.1 else format_number(one.error)


def _off(on: tuple[str, ...], run: TokenRun) -> str:
    return " and ".join(label for rule, (label, _) in _rules(run).items() if rule not in on)


def _name(rules: tuple[str, ...]) -> str:
    return f"reconstruction {'+'.join(rules)}"
