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

# A text has broken down when fewer of its tokens are different ones, or when the unsteered model finds it less likely
# than this perplexity; texts of fewer tokens are too short to tell.
REPEATED, UNLIKELY, SHORT = 0.5, 100.0, 8


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
    """Where a concept lives: for each depth the read-out, and the log-probability of what the concept leads to."""

    concept: str
    reads: list[Row]
    log_probability: list[float]
    said: str


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

    @property
    def unsteered(self) -> int:
        """The row at which the model is its own self."""
        return self.plan.unsteered

    @property
    def breaks_down(self) -> float | None:
        """The strength from which on every text has broken down; None for two operators, and where none has."""
        if len(self.strengths[0]) != 1 or self.plan.form != "reference":
            return None
        broken = [self._broken(row) for row in range(len(self.texts))]
        last_whole = max((row for row, bad in enumerate(broken) if not bad), default=-1)
        return self.strengths[last_whole + 1][0] if last_whole + 1 < len(broken) else None

    def _broken(self, row: int) -> bool:
        """Whether a text repeats itself or is nothing that the unsteered model would say."""
        ids = self.texts[row].token_ids
        if len(ids) < SHORT:
            return False
        unlikely = self.measured is not None and self.measured.perplexity[row] > UNLIKELY
        return len(set(ids)) < REPEATED * len(ids) or bool(unlikely)
