"""The two sides of page Compare: the run that was pinned as A, the one that is shown as B, and what each explains."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.figures import LogProbability, Provenance, visible_token
from eqlin_core.figures.palette import pair_colours
from eqlin_core.version import __version__
from pages.visit.session import Pinned, session
from pages.widgets.facts import fact, strip_of
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.figures.labels import Explained
    from eqlin_core.runs.compare import RunComparison
    from eqlin_core.runs.compared_run import ComparedRun
    from eqlin_core.runs.prompt import Target, TokenRun

NOTHING_PINNED = (
    "Nothing is pinned yet. Press **Pin as A** to keep what is shown now, then analyse another prompt, or the same one "
    "by another map, precision or model: that is B, and this page shows what changed."
)


def pinned_or_asked() -> Pinned | None:
    """What was pinned as A; where nothing was, say how, and give None."""
    pinned = session().pinned
    if pinned is None:
        st.info(NOTHING_PINNED, icon=":material/push_pin:")
        st.button("Pin as A", key="pin-here", on_click=session().pin, type="primary", icon=":material/push_pin:")
    return pinned


def explained_in(a: TokenRun, b: TokenRun, beside: Callable[[], object]) -> tuple[Target, Target]:
    """Draw what A and B explain, one choice each; ``beside`` draws what stands on B's line."""
    left, right = st.columns(2, gap="medium")
    chosen = []
    for place, run, name in ((left, a, "A"), (right, b, "B")):
        with place:
            targets = {visible_token(target.token): target for target in reversed(run.targets)}
            names = list(reversed(targets))
            key = f"explain_{name.lower()}"
            if st.session_state.get(key, st.query_params.get(key)) not in names:
                st.session_state[key] = names[0]
            with st.container(horizontal=True, vertical_alignment="bottom"):
                picked = st.selectbox(f"Explained in {name}", names, key=key, bind="query-params")
                if name == "A":
                    st.button(
                        "Unpin", key="unpin", on_click=session().unpin, help="Forget A; then another run can be pinned."
                    )
                else:
                    beside()
            chosen.append(targets[picked])
    return chosen[0], chosen[1]


def cards(found: RunComparison) -> None:
    """What A and B are, each in its colour."""
    left, right = st.columns(2, gap="medium")
    for place, side, name, colour in zip((left, right), (found.a, found.b), "AB", pair_colours(theme()), strict=True):
        place.html(_card(side, name, colour))


def source(found: RunComparison) -> Provenance:
    """Where the numbers of both come from: A's and B's text where they differ."""

    def both(a: str, b: str) -> str:
        return a if a == b else f"{a} | {b}"

    a, b = found.a, found.b
    return Provenance(
        both(a.key.model, b.key.model),
        both(a.prompt, b.prompt),
        both(a.explained, b.explained),
        both(a.key.dtype, b.key.dtype),
        both(a.key.convention.words, b.key.convention.words),
        __version__,
    )


def names(found: RunComparison) -> tuple[Explained, Explained]:
    """What the two totals are of, as charts call it."""
    return _name(found.a), _name(found.b)


def _name(side: ComparedRun) -> Explained:
    return LogProbability(side.explained) if side.split.target == "log-probability" else side.explained


def _card(side: ComparedRun, name: str, colour: str) -> str:
    chance = "" if side.probability is None else f' <span class="eq-p">{side.probability:.1%}</span>'
    facts = strip_of(
        fact("model", side.key.model),
        fact("precision", side.key.dtype),
        fact("split", side.split.words),
        fact(f"{side.split.target} of", f"{visible_token(side.explained)} {side.total:.4g}", beside=chance),
    )
    prompt = escape(side.prompt if len(side.prompt) <= 160 else side.prompt[:160] + "…")
    return (
        f'<div style="border-left:4px solid {colour};padding:0.1rem 0 0.1rem 0.8rem">'
        f'<div style="margin-bottom:0.3rem"><b>{name}</b>&ensp;{prompt}</div>{facts}</div>'
    )
