"""What a steering experiment asks for and what it finds, as plain arrays and strings: no tensor, no model, no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import Float

from eqlin_core.runs.convention import Convention, Share
from eqlin_core.runs.values import Row

# Strengths of a grid: to 2, where the push is as long as the residual stream, in steps of a tenth.
GRID = tuple(round(0.1 * i, 1) for i in range(21))
# With a second operator every combination is a row, so both grids are coarser.
COARSE, SECOND = tuple(round(0.2 * i, 1) for i in range(9)), (0.0, 0.4, 0.8, 1.2, 1.6)

FormName = Literal["reference", "interpolation"]
# The strength at which each form of the push leaves the model as it is.
UNSTEERED: dict[FormName, float] = {"reference": 0.0, "interpolation": 1.0}

# A text has broken down when no more than this share of its tokens are different ones, or when the unsteered model
# finds it less likely than this perplexity; texts of fewer tokens are too short to tell.
REPEATED, UNLIKELY, SHORT = 0.5, 100.0, 8
END = "∎"  # in place of a token, where a text ends


@dataclass(frozen=True)
class OperatorFile:
    """A saved operator that somebody brought along: the file's name and its bytes, not read or checked yet."""

    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class SteeringPlan:
    """Everything a grid depends on, beside the model: prompts, operators' places, and how tokens are chosen.

    An operator's ``file`` takes the place of concept, layers and final norm.
    """

    concept: str
    prompt: str
    layers: int
    final_norm: bool = True
    block: int | None = None
    form: FormName = "reference"
    second: str = ""
    max_new_tokens: int = 24
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    chat: bool = False
    gated_path: Share = "up"
    attention: Share = "held"
    file: OperatorFile | None = None

    @property
    def convention(self) -> Convention:
        """Which of the exact maps the operators are."""
        return Convention(self.gated_path, self.attention)

    @property
    def strengths(self) -> list[tuple[float, ...]]:
        """One row of the grid for each: one strength for each operator."""
        if self.form == "interpolation":
            return [(round(0.05 * i, 2),) for i in range(21)]
        return list(product(COARSE, SECOND)) if self.second.strip() else [(s,) for s in GRID]

    @property
    def unsteered(self) -> int:
        """The row at which the model is its own self."""
        return self.strengths.index(tuple(UNSTEERED[self.form] for _ in self.strengths[0]))


@dataclass(frozen=True)
class Guide:
    """Where a concept lives: for each depth the read-out, and the log-probability of what the concept leads to.

    ``words`` name the concept; ``word_log_probability`` [words][depths] is of the first token of each.
    """

    concept: str
    reads: list[Row]
    log_probability: list[float]
    said: str
    words: list[str] = field(default_factory=list)
    word_log_probability: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Text:
    """One continuation: its tokens as strings, and its text."""

    tokens: list[str]
    token_ids: list[int]
    text: str
    ended: bool


@dataclass(frozen=True)
class Measured:
    """Metrics of a grid's rows; see ``SteeringMetrics``."""

    concept: Float[np.ndarray, " S"]
    divergence: Float[np.ndarray, " S"]
    perplexity: Float[np.ndarray, " S"]


@dataclass(frozen=True)
class NamedWord:
    """A word that names the concept: at each strength the mean log-probability of its tokens, right after the prompt.

    ``control`` is the same with the random operators; None until they were applied.
    """

    word: str
    log_probability: Float[np.ndarray, " S"]
    control: Float[np.ndarray, " S"] | None = None


@dataclass(frozen=True)
class TokenChange:
    """Where the next token becomes ``token``, which it was not at the strength of the grid before."""

    strength: float
    token: str


@dataclass(frozen=True)
class ForecastRun:
    """A ``Forecast`` as arrays, of two tokens: the unsteered next token and the one that the push favours most."""

    strengths: Float[np.ndarray, " S"]
    tokens: list[str]
    real: Float[np.ndarray, "S m"]
    frozen: Float[np.ndarray, "S m"]
    tangent: Float[np.ndarray, "S m"]
    frozen_error: Float[np.ndarray, " S"]
    tangent_error: Float[np.ndarray, " S"]
    linear_until: float


@dataclass(frozen=True)
class OperatorFacts:
    """What is shown of an operator: its concept and depth, stable ranks, how its push at the prompt's end reads."""

    concept: str
    layers: int
    tokens: list[str]
    stable_rank: Float[np.ndarray, " n"]
    push_reads: Row
    push_angle: float | None = None  # degrees to the other operator's push, at the prompt's last position
    angle: float | None = None  # degrees to the other operator


@dataclass(frozen=True)
class Flip:
    """Where the next token becomes ``token``: ``strength``, or None where it does not within [0, maximum].

    ``below`` is the largest strength tried below it that gave another token, ``instead``; both were real passes.
    ``sentence`` says it in words.
    """

    token: str
    token_id: int
    strength: float | None
    below: float | None
    instead: str
    maximum: float

    @property
    def sentence(self) -> str:
        """The finding in one sentence."""
        if self.strength is None:
            return f"The next token does not become {self.token!r} within [0, {self.maximum:g}]."
        if self.strength == 0:
            return f"The next token is {self.token!r} at strength 0 already."
        return f"The next token becomes {self.token!r} at strength {self.strength:.3f}; below it is {self.instead!r}."


@dataclass(frozen=True)
class SteeringGrid:
    """The results, in the order of ``strengths``; what is not finished yet is None or empty."""

    plan: SteeringPlan
    model: str
    dtype: str
    strengths: list[tuple[float, ...]]
    prompt_tokens: list[str]
    operators: list[OperatorFacts]
    texts: list[Text]
    continuation: list[str] = field(default_factory=list)
    measured: Measured | None = None
    control_texts: list[Text] = field(default_factory=list)
    control: Measured | None = None
    forecast: ForecastRun | None = None
    flip: Flip | None = None
    complete: bool = False
    named: list[NamedWord] = field(default_factory=list)

    @property
    def unsteered(self) -> int:
        """The row at which the model is its own self."""
        return self.plan.unsteered

    @property
    def changes(self) -> list[TokenChange]:
        """Where the next token changes from one strength of the grid to the next, for one operator.

        A change is given at the first strength of the grid that shows it, the one of ``flip`` where it was found. What
        changes back between two strengths is missed. With a temperature tokens are drawn, and only ``flip`` is known.
        """
        flip, at = self.flip, (self.flip.strength if self.flip else None) or 0.0
        if len(self.strengths[0]) != 1:
            return []
        if self.plan.temperature > 0:
            return [TokenChange(at, flip.token)] if flip and at else []
        found = []
        for row in range(1, len(self.texts)):
            before, here = self.texts[row - 1], self.texts[row]
            if before.token_ids[:1] == here.token_ids[:1]:
                continue
            (low,), (high,) = self.strengths[row - 1 : row + 1]
            exact = flip is not None and here.token_ids[:1] == [flip.token_id] and low < at <= high
            found.append(TokenChange(at if exact else high, here.tokens[0] if here.tokens else END))
        return found

    @property
    def breaks_down(self) -> float | None:
        """The first of two neighbouring strengths whose texts have both broken down; None where there are none such.

        One text alone that repeats itself is an accident of greedy choices. Where the unsteered text does, it cannot be
        told: None, as for two operators.
        """
        row = self._breakdown()
        return None if row is None else self.strengths[row][0]

    @property
    def suggested(self) -> float | None:
        """The last strength of the sweep before the text breaks down, at which it is whole: the strongest useful push.

        The strongest of the sweep where no text breaks down. None where the texts are too short to tell, where the
        unsteered one already has broken down, and for two operators.
        """
        if len(self.strengths[0]) != 1 or self.plan.form != "reference" or not self.texts:
            return None
        if max(len(text.token_ids) for text in self.texts) < SHORT or self.repeats_unsteered:
            return None
        row = self._breakdown()
        before = range(1, len(self.texts) if row is None else row)
        return next((self.strengths[i][0] for i in reversed(before) if not self._broken(i)), None)

    @property
    def repeats_unsteered(self) -> bool:
        """Whether the unsteered text repeats itself, so that it cannot be told where steering breaks it."""
        return bool(self.texts) and self._broken(self.unsteered)

    def _breakdown(self) -> int | None:
        if len(self.strengths[0]) != 1 or self.plan.form != "reference":
            return None
        broken = [self._broken(row) for row in range(len(self.texts))]
        if not broken or broken[self.unsteered]:
            return None
        return next((row for row in range(len(broken)) if row + 1 < len(broken) and all(broken[row : row + 2])), None)

    def _broken(self, row: int) -> bool:
        """Whether a text repeats itself or is nothing that the unsteered model would say."""
        ids = self.texts[row].token_ids
        if len(ids) < SHORT:
            return False
        unlikely = self.measured is not None and self.measured.perplexity[row] > UNLIKELY
        return len(set(ids)) <= REPEATED * len(ids) or bool(unlikely)


def is_word(text: str) -> bool:
    """Whether a text holds a letter or a digit: punctuation and spaces name nothing."""
    return any(c.isalnum() for c in text)
