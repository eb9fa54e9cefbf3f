"""A whole answer as sums over the text before each of its tokens, and what the model does without groups of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eqlin_core import arguments
from eqlin_core.reprs import Facts, ShortRepr, counted, error_text
from eqlin_core.runs.exactness import Exactness
from eqlin_core.runs.groups import Group, summed
from eqlin_core.runs.prompt import RunKey
from eqlin_core.runs.split import TargetKind
from eqlin_core.runs.text import RunText
from eqlin_core.runs.values import Array, Row


@dataclass(frozen=True, repr=False)
class AnswerRun(ShortRepr):
    """R rows, the answer's tokens, over the T tokens of the text; float64. Terms, constant and normaliser of a row sum.

    They sum to ``values`` [R], logits or log-probabilities, as ``AnswerSplit`` says; ``errors`` are how far off, over
    |w| |y|. ``likely``: the most likely tokens where each row was chosen, with their probabilities. ``ends`` is the
    probability that the text ends after the answer, NaN where the model has no token for it.
    """

    key: RunKey
    text: RunText
    kind: TargetKind
    baseline: str | int
    terms: Float[Array, "rows T"]
    constants: Float[Array, " rows"]
    normalisers: Float[Array, " rows"]
    values: Float[Array, " rows"]
    log_probabilities: Float[Array, " rows"]
    errors: Float[Array, " rows"]
    likely: list[Row]
    ends: float
    exactness: Exactness
    made: str = ""

    def _facts(self) -> Facts:
        yield "model", self.key.model
        yield "answer", f"answer of {counted(len(self.terms), 'token')}"
        yield "tokens", f"to {counted(self.text.first, 'token')}"
        yield "log-probability", f"log-probability {float(self.log_probabilities.sum()):.4g}"
        yield "dtype", self.key.dtype
        yield "exactness", error_text(self.exactness.exact, self.exactness.reconstruction)

    @property
    def total(self) -> float:
        """The sum of all rows' values: of log-probabilities, that of the whole answer given the prompt."""
        return float(self.values.sum())

    @property
    def rest(self) -> Float[Array, " rows"]:
        """What no token carries: constants and normalisers."""
        return np.asarray(self.constants + self.normalisers)

    def row_of(self, position: int) -> int | None:
        """The row of the token that follows this position; None where that is not of the answer."""
        row = position + 1 - self.text.first
        return row if 0 <= row < len(self.terms) else None

    def folded(self, rows: list[Group], columns: list[Group]) -> Float[Array, "row_groups column_groups"]:
        """The terms summed over groups of the answer's tokens and of all tokens."""
        return summed(summed(self.terms, columns).T, [_rows_of(group, self.text.first) for group in rows]).T

    def over(self, rows: list[Group], values: Float[Array, " rows"]) -> Float[Array, " row_groups"]:
        """Numbers of rows summed over groups of the answer's tokens."""
        return np.asarray(summed(values[None], [_rows_of(group, self.text.first) for group in rows])[0])

    def parts(self, columns: list[Group]) -> Float[Array, " column_groups"]:
        """What each group adds to the whole answer: with ``rest`` they sum to ``total``."""
        return np.asarray(summed(self.terms, columns).sum(0))


def answer_groups(groups: list[Group], first: int) -> list[Group]:
    """Those that hold tokens of the answer."""
    return [group for group in groups if group.members[0] >= first]


def _rows_of(group: Group, first: int) -> Group:
    return Group(group.label, tuple(i - first for i in group.members), group.role)


@dataclass(frozen=True, repr=False)
class GroupDeletionRun(ShortRepr):
    """How much the log-probability of every answer token falls when a group of tokens is deleted from the text.

    ``falls`` [R, G], measured in the untouched model; what is deleted after a token changes nothing for it.
    ``deletion`` is "mean", "removal" or a token, as in leave-one-out.
    """

    key: RunKey
    deletion: str | int
    groups: list[Group]
    falls: Float[Array, "rows groups"]

    def _facts(self) -> Facts:
        yield "model", self.key.model
        yield "groups", counted(len(self.groups), "group")
        yield "deletion", f"by {self.deletion}"
        yield "rows", counted(len(self.falls), "row")

    def fall_of(self, group: int) -> float:
        """By how much the whole answer's log-probability falls without this group."""
        arguments.position("group", group, len(self.groups), f"there are {len(self.groups)} groups")
        return float(self.falls[:, group].sum())


@dataclass(frozen=True, repr=False)
class ContinuedText(ShortRepr):
    """An answer that the model gave: a text that reads as these tokens, and why it ended."""

    text: str
    token_ids: tuple[int, ...]
    ended: bool
    cut: int = 0  # tokens at the end that were left out, whose text reads as other tokens

    def _facts(self) -> Facts:
        yield "text", repr(self.text)
        yield "tokens", counted(len(self.token_ids), "token")

    @property
    def words(self) -> str:
        """How it ended, in a sentence for people; empty where there is nothing to say."""
        if self.cut == 1:
            return "The last token was left out: typed as text it would be another."
        if self.cut:
            return f"The last {self.cut} tokens were left out: typed as text they would be read as other tokens."
        return "The model ended its answer by itself." if self.ended else ""
