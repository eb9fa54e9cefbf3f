"""Beside the split, what the model does without a token: leave-one-out, what freezing hides, curves, the other maps.

What the model does is measured in log-probability, whatever the split's target is: without a token all logits may move
together, which changes no prediction. The lead of a token over another one is the same in both.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import visible_token
from eqlin_core.runs.faithfulness import rank_correlation
from eqlin_core.runs.treatments import mixer
from pages.contributions.jobs import conventions, curves, hidden, leave_one_out
from pages.visit.page_jobs import page_jobs, waiting
from pages.widgets.charts import show
from pages.widgets.facts import signed
from pages.widgets.theme import theme
from pages.widgets.token_choice import typed_token

if TYPE_CHECKING:
    from eqlin_core.runs.deletion import ConventionsRun, LeaveOneOutRun
    from eqlin_core.runs.prompt import TokenRun
    from eqlin_core.runs.split import Split
    from pages.widgets.explained import Explained
    from pages.worker.request import Request

# Up to so many tokens the model is run without each of them unasked.
UNASKED = 48
# Below this rank agreement with what the model does, terms are called bookkeeping.
AGREES = 0.5
_DELETION, _ASKED = "deletion", "measure_asked"
_NAMED = {"mean embedding": "mean", "removal": "removal"}


def measured_or_asked(request: Request, run: TokenRun, explained: Explained) -> LeaveOneOutRun | None:
    """Leave-one-out of the explained tokens, asked for by itself where the prompt is short, else by a button."""
    if not _measured(run):
        return None
    ids = dict.fromkeys([*(t.token_id for t in run.targets), explained.first.token_id])
    if explained.second_id is not None:
        ids[explained.second_id] = None
    return page_jobs().want("leave-one-out", leave_one_out(request, tuple(ids), deletion()))


def _measured(run: TokenRun) -> bool:
    """Whether the model is run without each token, or a button has to be pressed first."""
    return len(run.tokens) <= UNASKED or st.session_state.get(_ASKED) == run.key.token_ids


def agreement_words(
    run: TokenRun, explained: Explained, loo: LeaveOneOutRun | None, maps: ConventionsRun | None
) -> None:
    """The strip: how far the terms agree with leave-one-out, and with the other exact maps; and what follows."""
    said = []
    terms, _, _ = run.split(explained.direction)
    if loo is not None:
        falls = _falls(loo, explained)
        agreed = rank_correlation(terms, falls)
        if math.isnan(agreed):
            said.append("Too few tokens to compare their order with leave-one-out.")
        else:
            said.append(f"Rank agreement of the terms with leave-one-out on this prompt: **{signed(agreed)}**.")
            if agreed < AGREES:
                said.append("**Here the terms are bookkeeping, not importance:** trust the bars of leave-one-out.")
    if maps is not None:
        shown = run.key.convention
        others = [
            f"{c.words} {signed(rank_correlation(row, terms))}"
            for c, row in zip(maps.conventions, maps.terms, strict=True)
            if c != shown and len(terms) > 2
        ]
        if others:
            said.append(f"With the other exact maps: {', '.join(others)}.")
        if maps.differs(shown):
            said.append("Hatched: sign or rank differs among them.")
    if said:
        st.markdown(" ".join(said))


def other_maps(request: Request, split: Split, explained: Explained) -> ConventionsRun | None:
    """The same target by every exact map that has a name; None until it is there."""
    return page_jobs().want("other-maps", conventions(request, split, explained.first.token_id, explained.second_id))


def leave_one_out_bars(run: TokenRun, explained: Explained, loo: LeaveOneOutRun | None, apart: bool) -> None:
    """The bars beside the waterfall, with the choice of how a token is deleted."""
    st.header("What the model does without each token")
    with st.container():  # one place, whatever is in it: what follows stays where it is
        _bars(run, explained, loo, apart)
    choose_deletion()


def _bars(run: TokenRun, explained: Explained, loo: LeaveOneOutRun | None, apart: bool) -> None:
    if loo is None:
        if _measured(run) and "leave-one-out" in page_jobs().jobs.snapshots:  # else another prompt's stands there
            waiting("leave-one-out", "leave-one-out")
        else:
            st.button(
                f"Measure: the model runs {len(run.tokens) + 1} times",
                key="measure",
                on_click=lambda: st.session_state.update({_ASKED: run.key.token_ids}),
            )
        return
    terms, _, _ = run.split(explained.direction)
    falls = _falls(loo, explained)
    show(
        figures.leave_one_out(
            falls, run.tokens, measure=_measure(explained), unit="nats", terms=terms, apart=apart, theme=theme()
        ),
        "leave-one-out",
        f"How much the {_measure(explained)} falls when that token alone is deleted, by "
        f"{deletion_words(loo.deletion)}: measured in the untouched model ({run.key.dtype}). Diamonds: the exact terms "
        "above.",
    )


def map_table(run: TokenRun, maps: ConventionsRun | None) -> None:
    """The terms of every named exact map, one below the other."""
    st.header("The same sum by other exact maps")
    if maps is None:
        waiting("other-maps", "what other maps say")
        return
    show(
        figures.agreement(
            [(c.words, row) for c, row in zip(maps.conventions, maps.terms, strict=True)],
            run.tokens,
            shown=run.key.convention.words,
            differs=maps.differs(run.key.convention),
            theme=theme(),
        ),
        "other-maps",
        f"Every row sums, with its constant, to the same value ({run.key.dtype}); colours within each row.",
    )


def freezing_hides(request: Request, run: TokenRun, split: Split, explained: Explained) -> None:
    """The stacked bars: the measured effect of each token's deletion, by what made it."""
    st.header("What freezing hides")
    word = mixer(run.treatments)
    st.caption(
        "Deleting a token (its embedding replaced by the mean) changes more than the exact map shows: "
        f"{'attention moves' if word == 'attention' else 'mixers move'}, norms rescale, gates open and close. Each "
        "kind is set free in turn; the parts sum to what the model does."
    )
    if not st.toggle(f"Measure: {4 * len(run.tokens)} runs", key="freezing", bind="query-params"):
        return
    found = page_jobs().want(
        "hidden",
        hidden(request.by(split.convention), "log-probability", explained.first.token_id, explained.second_id),
    )
    if found is None:
        waiting("hidden", "what freezing hides")
        return
    parts = {word if name == "attention" else name: values for name, values in found.parts.items()}
    along = "log-probability" if explained.second is None else "difference of the two logits"
    show(
        figures.hidden_effects(parts, found.measured, run.tokens, measure=_measure(explained), theme=theme()),
        "hidden",
        f"By the map {run.key.convention.words}, along the {along}, against the mean embedding; softmax: what "
        f"the normaliser adds ({run.key.dtype}).",
    )


def deletion_curves(request: Request, split: Split, explained: Explained) -> None:
    """Deletion and insertion in the order of the split, of leave-one-out, and of chance."""
    st.header("Deleting tokens in the order of their terms")
    st.caption(
        "What is left of the prediction as more and more tokens are deleted, or only so many kept: in the order of the "
        "split above, of leave-one-out, and of chance."
    )
    if not st.toggle("Measure the curves", key="curves", bind="query-params"):
        return
    found = page_jobs().want("curves", curves(request, split, explained.first.token_id, deletion()))
    if found is None:
        waiting("curves", "the curves")
        return
    name = f"log-probability of {visible_token(explained.first.token)}"
    left, right = st.columns(2, gap="medium")
    with left:
        show(
            figures.deletion_curves(found.deletion, found.points, measure=name, kind="deletion", theme=theme()),
            "deletion-curves",
            "The highest deleted first: the faster it falls, the better the order.",
        )
    with right:
        show(
            figures.deletion_curves(found.insertion, found.points, measure=name, kind="insertion", theme=theme()),
            "insertion-curves",
            "Only the highest kept: the faster it rises, the better the order.",
        )


def choose_deletion() -> None:
    """Draw the choice of what deleting a token means."""
    st.selectbox(
        "Deleted by",
        list(_NAMED),
        key=_DELETION,
        bind="query-params",
        accept_new_options=True,
        width=220,
        help="The mean of all input embeddings in the token's place; the token removed, so that all after it move "
        "up; or type a token that is put in its place.",
    )


def deletion() -> str:
    """How a token is deleted, as it was chosen last."""
    text = st.session_state.get(_DELETION) or st.query_params.get(_DELETION) or "mean embedding"
    return _NAMED.get(text, typed_token(text))


def deletion_words(deletion: str | int) -> str:
    """What a deletion does, in words."""
    named = {"mean": "the mean embedding in its place", "removal": "removing it"}
    return named.get(str(deletion), f"{visible_token(str(deletion))} in its place")


def _falls(loo: LeaveOneOutRun, explained: Explained) -> np.ndarray:
    return loo.falls("log-probability", explained.first.token_id, explained.second_id)


def _measure(explained: Explained) -> str:
    """What is measured of the model, in words."""
    if explained.second is not None:
        return explained.text
    return f"log-probability of {visible_token(explained.first.token)}"
