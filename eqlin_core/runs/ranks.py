"""What few triplets make of a prediction, and the triplets of all tokens' matrices together."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int

from eqlin_core.runs.prompt import RunKey
from eqlin_core.runs.values import Array, Row


@dataclass(frozen=True)
class RankRun:
    """The prediction at every rank r = 0..k, as ``Truncation`` says it; ``joint`` when one matrix was cut, not T."""

    key: RunKey
    joint: bool
    width: int
    error: Float[Array, " ranks"]
    divergence: Float[Array, " ranks"]
    chances: Float[Array, " ranks"]
    top: list[Row]
    true_top: Row
    keeps: int | None

    @property
    def largest(self) -> int:
        """k, the largest rank."""
        return len(self.error) - 1


@dataclass(frozen=True)
class JointRun:
    """The k largest triplets of [J_1 ... J_T]; v [T d] of each is split over the tokens.

    ``weights`` [k, T] = ||v_i||^2, which sum to 1 over the tokens; ``projections`` [k, T] = v_i . x_i; ``main`` [k] is
    the token with the largest weight, ``V`` [k, d] its part of v, and ``reads_v`` what that part reads as.
    """

    key: RunKey
    tokens: list[str]
    U: Float[Array, "d k"]
    S: Float[Array, " k"]
    V: Float[Array, "k d"]
    stable_rank: float
    weights: Float[Array, "k tokens"]
    projections: Float[Array, "k tokens"]
    main: Int[Array, " k"]
    reads_u: list[Row]
    reads_v: list[Row]
