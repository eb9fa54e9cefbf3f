"""What is split over the tokens, and against what: the target and the baseline, beside the convention of the map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eqlin_core import arguments
from eqlin_core.runs.convention import PUBLISHED, Convention

TargetKind = Literal["logit", "log-probability"]
TARGET_KINDS: tuple[TargetKind, ...] = ("logit", "log-probability")


@dataclass(frozen=True)
class Split:
    """One exact way to write a prediction as a sum over the prompt's tokens; all of these sum to the same.

    ``target``: the logit w . y of a token, or its log-probability's direction w - sum_v p_v W_v, which sums to the
    logit less the mean of all logits under p. ``baseline``: "zero", "mean" (the mean embedding) or a token; terms are
    J_i (x_i - m). ``convention``: which exact map. Raises EqlinError for a target that does not exist.
    """

    target: TargetKind = "logit"
    baseline: str | int = "zero"
    convention: Convention = PUBLISHED

    def __post_init__(self) -> None:
        arguments.choice("target", self.target, TARGET_KINDS)
        if isinstance(self.baseline, str):
            arguments.text("baseline", self.baseline)
        else:
            object.__setattr__(self, "baseline", arguments.whole("baseline, unless it is a text,", self.baseline, 0))
        arguments.instance("convention", self.convention, Convention, "a Convention")

    @property
    def words(self) -> str:
        """The choices in one line: ``log-probability, baseline mean embedding, half, attention half``."""
        return f"{self.target}, baseline {baseline_words(self.baseline)}, {self.convention.words}"


def baseline_words(baseline: str | int) -> str:
    """What people call a baseline."""
    return {"zero": "zero", "mean": "mean embedding"}.get(str(baseline), f"token {baseline!r}")
