"""The rank dial: the prediction of the map whose matrices are cut to rank r, for every r computed beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_error, format_number, visible_token
from pages.triplets.jobs import ranks
from pages.visit.page_jobs import page_jobs, waiting
from pages.widgets.charts import show
from pages.widgets.facts import fact, strip_of
from pages.widgets.theme import theme
from pages.worker.analysis import KEPT_TRIPLETS
from pages.worker.request import Request

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import TokenRun
    from eqlin_core.runs.ranks import RankRun

# Decomposing every matrix in full takes about 20 d^3 operations a token: up to this T d^3 it is a matter of seconds.
QUICK = 4e9
EACH, JOINT = "each token's", "all together"
FINE = 48  # ranks up to which every one is a stop of the dial; after it they lie about 4 % apart
FIRST_RANK = 8
_RANK = "rank"


def rank_dial(request: Request, run: TokenRun) -> None:
    """The dial with what is predicted at its rank, in a fragment of its own, so that turning it is instant."""
    st.header("How few triplets predict the same?")
    st.caption(
        "Cut every matrix to its r largest singular triplets, turn r up from 0, and the prediction converges to the "
        "model's own."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        cut = st.segmented_control(
            "Matrix that is cut",
            [EACH, JOINT],
            default=EACH,
            required=True,
            key="cut",
            bind="query-params",
            help="Every Jᵢ to rank r, or the one d × Td matrix [J₁ J₂ …] of all tokens together.",
        )
        every = _choose_reach(run)
    predicted = page_jobs().want("ranks", ranks(request, cut == JOINT, every))
    with st.container():  # one place, whatever is in it: the charts below stay where they are
        if predicted is None:
            waiting("ranks", "the prediction at every rank")
        else:
            _turn(predicted)


def _choose_reach(run: TokenRun) -> bool:
    """Whether all ranks are wanted, or those of the triplets that are kept anyway."""
    whole = f"{run.width}"
    choices = list(dict.fromkeys([f"{min(KEPT_TRIPLETS, run.width)}", whole]))
    if st.session_state.get("upto") not in choices:
        st.session_state.pop("upto", None)
    upto = st.segmented_control(
        "Ranks up to",
        choices,
        default=whole if len(run.tokens) * run.width**3 <= QUICK else choices[0],
        required=True,
        key="upto",
        bind="query-params",
        help="All ranks need every singular triplet of every matrix, which takes longer the wider the model is.",
    )
    return upto == whole


def sentence(predicted: RankRun) -> str:
    """From which rank on the most likely token is the true one, in words."""
    name = f"`{visible_token(predicted.true_top[0][0])}`"
    right = [r for r, row in enumerate(predicted.top) if row and row[0][0] == predicted.true_top[0][0]]
    whole = predicted.largest == predicted.width
    if predicted.keeps is None:
        reach = f"at rank {predicted.largest}, the largest computed, another token is still the most likely one"
        return f"No rank up to {predicted.largest} keeps the top token {name}: {reach}."
    first = (
        "" if right[0] == predicted.keeps else f" Rank {right[0]} is the first that has it on top, but not for good."
    )
    end = "the whole matrices" if whole else f"rank {predicted.largest}, the largest computed"
    return (
        f"**Rank {predicted.keeps}** is the smallest that keeps the top token {name}: from there up to {end} it is the "
        f"most likely one at every rank.{first}"
    )


def stops(predicted: RankRun) -> list[int]:
    """The ranks that the dial stops at: all of the small ones, then as dense as can be told apart."""
    chosen = set(range(min(FINE, predicted.largest) + 1))
    r = float(FINE)
    while r < predicted.largest:
        chosen.add(int(r))
        r *= 1.04
    keeps = predicted.keeps or 0
    return sorted({*chosen, predicted.largest, keeps, max(0, keeps - 1)})


def _turn(predicted: RankRun) -> None:
    @st.fragment
    def dial() -> None:
        places = stops(predicted)
        first = min(places, key=lambda r: abs(r - FIRST_RANK))
        if st.session_state.get(_RANK, first) not in places:
            st.session_state[_RANK] = min(places, key=lambda r: abs(r - st.session_state[_RANK]))
        rank: int = st.select_slider("Rank r", places, first, key=_RANK, bind="query-params")
        _numbers(predicted, rank)
        left, right = st.columns([2, 3], gap="medium")
        with left:
            _top(predicted, rank)
        with right:
            show(
                figures.rank_dial(
                    predicted.divergence,
                    predicted.chances,
                    token=predicted.true_top[0][0],
                    true_chance=predicted.true_top[0][1],
                    position=rank,
                    keeps=predicted.keeps,
                    theme=theme(),
                ),
                "rank-chart",
                f"Solid: the dial. Dotted: keeps the top token. Dashed: the model's own ({predicted.key.dtype}).",
            )

    st.markdown(sentence(predicted))
    dial()


def _numbers(predicted: RankRun, rank: int) -> None:
    true, p = predicted.true_top[0]
    facts = [
        ("rank", f"{rank} of {predicted.width}"),
        ("KL(true ‖ truncated)", f"{_small(predicted.divergence[rank])} nats"),
        ("‖yᵣ − y‖ / ‖y‖", _small(predicted.error[rank])),
        (f"probability of {visible_token(true)}", f"{predicted.chances[rank]:.2%}, true {p:.2%}"),
    ]
    with st.container(key="rank-facts"):
        st.html(strip_of(*(fact(name, value) for name, value in facts)))


def _top(predicted: RankRun, rank: int) -> None:
    if not predicted.top[rank]:
        st.info("Without any triplet nothing is left of the prompt: every next token is equally likely.")
        return
    most = max(p for row in [*predicted.top, predicted.true_top] for _, p in row[:1])
    show(
        figures.top_tokens(
            predicted.top[rank],
            predicted.true_top[0][0],
            f"next-token probability at rank {rank}",
            most=most,
            theme=theme(),
        ),
        "rank-tokens",
        f"Marked: the model's own most likely token ({predicted.key.dtype}).",
    )


def _small(value: float) -> str:
    return format_error(value) if value < 0.01 else format_number(value)
