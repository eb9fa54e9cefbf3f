"""How far the frozen map can be trusted: one token is turned into another, and the map is held against the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_number, visible_token
from eqlin_core.runs.treatments import mixer
from pages.matrices import jobs
from pages.visit.page_jobs import page_jobs, waiting
from pages.widgets.charts import show
from pages.widgets.facts import code, number_text, plain
from pages.widgets.sentences import shortened
from pages.widgets.theme import theme
from pages.widgets.token_choice import typed_token
from pages.worker.request import Request

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import TokenRun
    from eqlin_core.runs.validity import ValidityRun

ANOTHER, ALONG = "another token", "its direction v₁"
# So many fractions are measured, each in the frozen network, with two kinds set free in turn, and in the model.
POINTS, STEPS = 17, 4
_WANTED, _LAST = "reach", "reach_last"


def draw_reach(request: Request, run: TokenRun, token: int, found: Callable[[ValidityRun], object]) -> None:
    """The choice of a way, and how far the map follows the model on it once that is asked for; ``found`` is told."""
    name = code(visible_token(run.tokens[token]))
    st.caption(
        "The map is exact at this prompt, and frozen there. Here the embedding of the chosen token, "
        f"{name} (position {token}), turns into another one, step by step, and the map is held against the model."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        way = st.segmented_control(
            "Towards",
            [ANOTHER, ALONG],
            default=ANOTHER,
            required=True,
            key="way",
            bind="query-params",
            help="Another token's embedding, or the direction that the token's own matrix reads most, added to the "
            "embedding up to its own length.",
        )
        along = way == ALONG
        text = st.text_input(
            "Other token",
            key="towards",
            bind="query-params",
            placeholder="the model's own alternative",
            max_chars=80,
            disabled=along,
            width=260,
            help="One token, with or without its space, · for a space. Left empty: the likeliest other token in this "
            "place by what stands before it.",
        )
        measured = st.toggle(f"Measure: {STEPS * POINTS} runs", key="reach", bind="query-params")
    if not measured:
        return
    towards = None if along or not (text or "").strip() else typed_token(text or "")
    reached = page_jobs().want(_WANTED, jobs.validity(request, token, towards, along))
    with st.container():  # one place, whatever is in it: the charts below stay where they are
        if reached is None:
            reached = _last(run, token)
        else:
            st.session_state[_LAST] = reached
        if reached is None:
            return
        st.markdown(sentence(reached))
    found(reached)
    _charts(reached, run)


def of_reach(found: Sequence[ValidityRun]) -> dict[str, Any]:
    """What the code of this page needs of what is shown of the reach, if anything is."""
    return {"towards": found[0].towards_id, "along": found[0].way == "direction"} if found else {}


def sentence(reached: ValidityRun) -> str:
    """How far the frozen map has the model's own top token, and what it has of the change, in words."""
    away = f"{_token(reached.token)} → {_token(reached.towards)}"
    if reached.way == "direction":
        away = f"{_token(reached.token)} along v₁ of its own matrix"
    elif reached.way == "alternative":
        away += ", the model's own alternative here"
    first = next((i for i, same in enumerate(reached.agrees) if not same), None)
    n, end = len(reached.fractions), "the whole way" if reached.way == "direction" else "the swap itself"
    if first is None or reached.radius is None:
        said = [f"At {away}: the frozen map has the model's own top token at all {n} fractions measured, up to t = 1."]
    else:
        differ = (
            f"at t = {format_number(reached.fractions[first])} the model's is {_token(reached.model_top[first])}, the "
            f"map's {_token(reached.frozen_top[first])}"
        )
        if first == 0:
            said = [f"At {away}: already at t = 0 the map has another top token than the model: {differ}."]
        else:
            said = [
                f"At {away}: wherever it was measured below **t = {_radius(reached)}** the frozen map has the model's "
                f"own top token; {differ}."
            ]
        if any(reached.agrees[first:]):
            said.append(f"They agree at {int(reached.agrees.sum())} of the {n} fractions measured.")
    total, part = _signed(reached.change[-1]), _signed(reached.parts["map"][-1])
    said.append(
        f"At t = 1, {end}, KL is {number_text(reached.divergence[-1])} nats, and of the {total} by which the logit of "
        f"{_token(reached.followed)} changes the map has {part}."
    )
    return " ".join(said)


def _charts(reached: ValidityRun, run: TokenRun) -> None:
    way = f"fraction t of the way from {visible_token(reached.token, 16)} "
    way += "along v₁" if reached.way == "direction" else f"to {visible_token(reached.towards, 16)}"
    word = mixer(run.treatments)
    parts = {word if name == "attention" else name: values for name, values in reached.parts.items()}
    left, right = st.columns(2, gap="medium")
    with left:
        show(
            figures.reach(
                reached.fractions,
                reached.divergence,
                reached.frozen_top,
                reached.model_top,
                agrees=reached.agrees.tolist(),
                radius=reached.radius,
                way=way,
                theme=theme(),
            ),
            "reach-chart",
            f"The way is {format_number(reached.length)} lengths of the embedding ({reached.key.dtype}).",
        )
    with right:
        show(
            figures.reach_parts(
                reached.fractions,
                parts,
                measure=f"logit of {visible_token(reached.followed)}",
                hidden=reached.hidden,
                radius=reached.radius,
                way=way,
                theme=theme(),
            ),
            "reach-parts",
            f"At t = 1 the map's output is off by {_share(reached.hidden[-1])} of its change.",
        )


def _last(run: TokenRun, token: int) -> ValidityRun | None:
    """In the place of a result that is not there: why, and what was measured last of the same token."""
    snapshot = page_jobs().jobs.snapshots[_WANTED]
    if snapshot.state != "failed":
        waiting(_WANTED, "how far the map reaches")
        return None
    last: ValidityRun | None = st.session_state.get(_LAST)
    if last is not None and not _is_of(last, run, token):
        last = None
    below = "" if last is None else " Below stands what was measured last."
    st.warning(plain(shortened(snapshot.error)) + below, icon=":material/info:")
    return last


def _is_of(last: ValidityRun, run: TokenRun, token: int) -> bool:
    """Whether what was measured last is of this token of what is shown."""
    ids = last.key.token_ids[: len(run.tokens)]
    of_run = (last.key.model, last.key.dtype, last.key.convention, ids)
    return last.position == token and of_run == (run.key.model, run.key.dtype, run.key.convention, run.key.token_ids)


def _token(text: str) -> str:
    return code(visible_token(text, 40))


def _radius(reached: ValidityRun) -> str:
    assert reached.radius is not None
    return format_number(reached.radius)


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")


def _share(value: float) -> str:
    return "none" if np.isnan(value) else f"{100 * value:.3g} %"
