"""What swapped tokens change in the model, on page Compare: each one's part in the frozen map, and what that hides."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_number, visible_token
from eqlin_core.runs.treatments import mixer
from pages.comparison.jobs import counterfactual
from pages.visit.page_jobs import page_jobs, waiting
from pages.widgets.charts import show
from pages.widgets.facts import code, number_text
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import Target, TokenRun
    from eqlin_core.runs.split import TargetKind
    from eqlin_core.runs.validity import CounterfactualRun
    from pages.worker.request import Request

# Up to so many swapped tokens nobody is asked whether the model may run for each.
UNASKED = 24
STEPS = 4
# Of the sum of all sizes; more of it has a bar of its own.
ROUNDING = 1e-3
_WANTED = "counterfactual"


def swapped(
    sides: tuple[tuple[Request, TokenRun, Target], tuple[Request, TokenRun, Target]],
    kind: TargetKind,
    measured: Callable[[str], object],
) -> None:
    """The frozen map of A, or of B, taken to the other's prompt, where that is possible; else what it takes.

    ``measured`` is told which of them is frozen.
    """
    missing = needed(sides[0][1], sides[1][1])
    if missing:
        st.info(missing, icon=":material/info:")
        return
    st.caption(
        "Freeze the map of one prompt and give it the other's tokens: how much of what the model changes does it "
        "foresee? The rest is what freezing holds: attention, norms and gates, set free one after the other."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        frozen = st.segmented_control(
            "Frozen at", ["A", "B"], default="A", required=True, key="frozen_at", bind="query-params"
        )
        n = sum(a != b for a, b in zip(sides[0][1].key.token_ids, sides[1][1].key.token_ids, strict=True))
        if n > UNASKED and not st.toggle(f"Measure: {STEPS * (n + 1)} runs", key="measure_swaps", bind="query-params"):
            return
    (request, run, target), (_, other, _) = sides if frozen == "A" else sides[::-1]
    asked = counterfactual(request.by(run.key.convention), other.key.token_ids, target.token_id, kind)
    found = page_jobs().want(_WANTED, asked)
    if found is None:
        waiting(_WANTED, "what the swapped tokens change")
        return
    here, there = ("A", "B") if frozen == "A" else ("B", "A")
    word = mixer(run.treatments)
    if not math.isfinite(found.rounding):
        st.warning(f"Numbers overflow in {run.key.dtype} on the way: choose another precision.", icon=":material/info:")
        return
    st.markdown(sentence(found, here, there, word))
    measured(here.lower())
    free = {word if name == "attention" else name: value for name, value in found.hidden.items()}
    if abs(found.rounding) > ROUNDING * math.fsum(map(abs, [*found.map.tolist(), *free.values()])):
        free["rounding"] = found.rounding
    show(
        figures.counterfactual(
            found.swaps,
            found.positions,
            found.map,
            free,
            measured=found.measured,
            measure=f"{found.kind} of {visible_token(found.target)}",
            tolerance=ROUNDING,
            theme=theme(),
        ),
        "counterfactual",
        f"Frozen at {here}, map {run.key.convention.words}. {found.kind.capitalize()} of "
        f"{visible_token(found.target)}, which {here} explains, in the model: {number_text(found.before)} in {here}, "
        f"{number_text(found.after)} in {there} ({run.key.dtype})"
        + ("; softmax: what the normaliser adds." if "softmax" in found.hidden else "."),
    )


def needed(a: TokenRun, b: TokenRun) -> str:
    """What keeps the map of A from being taken to B's prompt, in a sentence; empty for nothing."""
    wrong = []
    if (a.key.model, a.key.revision) != (b.key.model, b.key.revision):
        wrong.append(f"A is by {a.key.model}, B by {b.key.model}")
    if a.key.dtype != b.key.dtype:
        wrong.append(f"A is in {a.key.dtype}, B in {b.key.dtype}")
    if len(a.key.token_ids) != len(b.key.token_ids):
        wrong.append(f"A has {len(a.key.token_ids)} tokens, B {len(b.key.token_ids)}")
    if wrong:
        return (
            f"{'; '.join(wrong)}. Swapping tokens one for one needs two prompts of equal length in tokens, by the same "
            "model in the same precision: analyse such a prompt as B."
        )
    if a.key.token_ids == b.key.token_ids:
        return "A and B have the same tokens, so nothing is swapped: change a word of the prompt and analyse it as B."
    return ""


def sentence(found: CounterfactualRun, here: str, there: str, mixing: str = "attention") -> str:
    """What the swaps change in the model, and how much of it the frozen map foresees, in words."""
    swaps = [f"{_token(a)} → {_token(b)}" for a, b in found.swaps[:3]]
    if len(found.swaps) > 3:  # the others are in the chart
        swaps.append(f"{len(found.swaps) - 3} more")
    held = [name for name in found.hidden if name != "softmax"]  # which no map holds
    hidden = max(held, key=lambda name: abs(found.hidden[name]))
    return (
        f"{', '.join(swaps)}: from {here} to {there} the {found.kind} of {_token(found.target)} changes by "
        f"**{_signed(found.measured)}** in the model. {here}'s frozen map foresees **{_signed(found.foreseen)}**; the "
        f"largest part of what freezing hides is {mixing if hidden == 'attention' else hidden}, "
        f"{_signed(found.hidden[hidden])}."
    )


def _token(text: str) -> str:
    return code(visible_token(text, 40))


def _signed(value: float) -> str:
    text = format_number(value, signed=True)
    return text.replace("-", "−")
