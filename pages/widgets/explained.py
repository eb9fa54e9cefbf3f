"""The choice of the next token that is explained, and of a second one to compare it with; shared by all pages."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from eqlin_core.figures import LogProbability, visible_token
from pages.visit.session import session
from pages.widgets.sentences import shortened
from pages.widgets.token_choice import typed_token

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import Target, TokenRun
    from eqlin_core.runs.split import TargetKind

ECHO_SECONDS = 3.0
NONE = "nothing"


@dataclass(frozen=True)
class Explained:
    """A direction w of the output space: a token's logit or log-probability, or the difference of two tokens.

    ``expected`` is the mean row of the unembedding under the model's probabilities, needed for a log-probability.
    """

    first: Target
    second: Target | None
    kind: TargetKind = "logit"
    expected: np.ndarray[Any, Any] | None = None

    @property
    def direction(self) -> np.ndarray[Any, Any]:
        """w, of shape [d]."""
        if self.second is not None:
            return self.first.row - self.second.row
        return self.first.row if self.expected is None else self.first.row - self.expected

    @property
    def second_id(self) -> int | None:
        """The id of the token that the first is compared with."""
        return None if self.second is None else self.second.token_id

    @property
    def name(self) -> str | tuple[str, str]:
        """What the figures' builders take as the name of the explained logit."""
        if self.second is not None:
            return self.first.token, self.second.token
        return LogProbability(self.first.token) if self.kind == "log-probability" else self.first.token

    @property
    def text(self) -> str:
        """The explained quantity in words."""
        first = f"{self.kind} of {visible_token(self.first.token)}"
        return first if self.second is None else f"{first} − logit of {visible_token(self.second.token)}"


def choose(run: TokenRun, beside: Callable[[], None] | None = None) -> Explained:
    """Draw both choices and give what they amount to; a token that cannot be found is said and left out.

    ``beside`` draws what stands on the same line.
    """
    by_name = _names(run.targets, session().followed_by)
    default = next(iter(by_name))
    _forget_old_choice(run, default, by_name)
    if beside is None:
        left, right = st.columns(2)
    else:
        left, right, last = st.columns([3, 3, 2], vertical_alignment="bottom")
        with last:
            beside()
    first = left.selectbox(
        "Explained next token",
        list(by_name),
        key="explain",
        bind="query-params",
        accept_new_options=True,
        help="One of the 20 most likely next tokens, or type any other.",
    )
    second = right.selectbox(
        "compared with",
        [NONE, *by_name],
        key="versus",
        bind="query-params",
        accept_new_options=True,
        help="Choose a second token to explain the difference of the two logits.",
    )
    with st.container():  # there without a sentence, too: none may move the charts below, which stood there twice then
        chosen = _find(first or default, by_name) or by_name[default]
        other = None if not second or second == NONE else _find(second, by_name)
        if other is not None and other.token_id == chosen.token_id:
            st.caption("A token compared with itself differs by nothing; choose another one.")
            other = None
    return Explained(chosen, other)


def as_kind(explained: Explained, kind: TargetKind, run: TokenRun) -> Explained:
    """The same tokens, read as logits or log-probabilities; the difference of two is the same either way."""
    if kind == "logit" or explained.second is not None or run.expected is None:
        return explained
    return replace(explained, kind=kind, expected=run.expected)


def _names(targets: list[Target], followed_by: int | None) -> dict[str, Target]:
    """Targets by their visible text, which is what the address and the list show; made unique where two look alike.

    The token that follows in the text, where one does, comes first: by its id, as many texts name two tokens.
    """
    named: dict[str, Target] = {}
    follows = next((t for t in targets if t.token_id == followed_by), None)
    if follows is None and followed_by is not None:
        follows = session().target_of(followed_by)
    rest = [t for t in targets if follows is None or t.token_id != follows.token_id]
    for target in rest if follows is None else [follows, *rest]:
        name = visible_token(target.token)
        named[name if name not in named else f"{name} #{target.token_id}"] = target
    return named


def _find(name: str, by_name: dict[str, Target]) -> Target | None:
    if name in by_name:
        return by_name[name]
    run = session().tokens
    if run is not None and not run.complete:
        st.info("Any other token can be explained once the contributions are there.", icon=":material/info:")
        return None
    typed = session().typed_target(typed_token(name))
    if isinstance(typed, str):
        st.warning(shortened(typed), icon=":material/info:")
        return None
    return typed


def _forget_old_choice(run: TokenRun, default: str, names: Collection[str]) -> None:
    """A new prompt is explained by its own most likely token; the choice made for the last one is dropped.

    The token that follows in the text may be known later, or change with the answer: where nobody chose, it is taken.
    A browser that was busy may send the last prompt's choice once more, just after the change: that is no new choice.
    """
    state = st.session_state
    key = (run.key.model, run.key.token_ids)
    if state.get("explained_for", key) != key:
        state["explained_before"] = state.get("explain"), state.get("versus"), time.monotonic()
        state["explain"], state["versus"] = default, NONE
        state["explained_default"] = default
    elif "explain" not in state and "explain" not in st.query_params:
        state["explained_default"] = default
    elif state.get("explain") == state.get("explained_default") != default:
        state["explain"] = state["explained_default"] = default
    state["explained_for"] = key
    before = state.get("explained_before")
    if before is not None and time.monotonic() - before[2] < ECHO_SECONDS:
        for widget, old, fresh in (("explain", before[0], default), ("versus", before[1], NONE)):
            if state.get(widget) == old and old not in (None, NONE, *names):
                state[widget] = fresh
