"""How far the frozen map of one prompt reaches, and what swapped tokens change: measured, as plain arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from eqlin_core.reprs import Facts, ShortRepr
from eqlin_core.runs.prompt import RunKey
from eqlin_core.runs.split import TargetKind
from eqlin_core.runs.values import Array

# Towards what a token was moved: the model's own alternative in its place, one that was named, or its matrix's v_1.
Way = Literal["alternative", "token", "direction"]


@dataclass(frozen=True, repr=False)
class ValidityRun(ShortRepr):
    """The frozen map against the model while one token's embedding goes a fraction t of a way; arrays over fractions.

    ``divergence``: KL(model || frozen map) in nats. ``parts`` ["map", "attention", "norms", "gates"] sum to the change
    of the logit of ``followed``, the likeliest token at t = 0, in the model. ``hidden``: the share of the output's
    change that the map does not have; NaN at t = 0. ``radius``: the smallest fraction found at which the map's
    likeliest token is not the model's, None where they agree at all fractions. ``length``: of the whole way, in lengths
    of the token's embedding. ``towards_id`` is None along a direction.
    """

    key: RunKey
    position: int
    token: str
    way: Way
    towards: str
    towards_id: int | None
    fractions: Float[Array, " fractions"]
    divergence: Float[Array, " fractions"]
    frozen_ids: Int[Array, " fractions"]
    model_ids: Int[Array, " fractions"]
    frozen_top: list[str]
    model_top: list[str]
    followed: str
    parts: dict[str, Float[Array, " fractions"]]
    hidden: Float[Array, " fractions"]
    radius: float | None
    length: float

    def _facts(self) -> Facts:
        yield "model", self.key.model
        yield "token", repr(self.token)
        yield "towards", f"towards {self.towards!r}"
        yield "radius", "agrees all the way" if self.radius is None else f"radius {self.radius:.3g}"

    @property
    def agrees(self) -> Bool[Array, " fractions"]:
        """Where both have the same likeliest token."""
        return np.asarray(self.frozen_ids == self.model_ids)

    @property
    def change(self) -> Float[Array, " fractions"]:
        """The change of the followed logit in the model."""
        return np.asarray(np.sum(list(self.parts.values()), axis=0))


@dataclass(frozen=True, repr=False)
class CounterfactualRun(ShortRepr):
    """What another prompt of as many tokens changes in a logit or log-probability, by what brings it.

    ``map`` [n]: the frozen map's part of each of the n ``positions`` whose tokens differ; ``hidden``: what is added as
    "attention", "norms" and "gates" are set free in this order, and for a log-probability "softmax", what the
    normaliser adds to its direction. Together they are ``measured``, ``after`` less ``before``, both of the model, but
    for ``rounding``.
    """

    key: RunKey
    other_ids: tuple[int, ...]
    kind: TargetKind
    target: str
    tokens: list[str]
    others: list[str]
    positions: list[int]
    map: Float[Array, " n"]
    hidden: dict[str, float]
    before: float
    after: float

    def _facts(self) -> Facts:
        yield "model", self.key.model
        yield "changed", ", ".join(f"{a!r} to {b!r}" for a, b in self.swaps[:3]) + (" ..." if self.swaps[3:] else "")
        yield "measured", f"{self.kind} of {self.target!r} {self.measured:+.3g}"

    @property
    def swaps(self) -> list[tuple[str, str]]:
        """The tokens that differ, here and there."""
        return [(self.tokens[i], self.others[i]) for i in self.positions]

    @property
    def measured(self) -> float:
        """The change in the model."""
        return self.after - self.before

    @property
    def foreseen(self) -> float:
        """The map's part of all swaps together."""
        return math.fsum(self.map.tolist())

    @property
    def rounding(self) -> float:
        """How far the parts miss the change in the model: each swap's part is rounded for itself."""
        return self.measured - math.fsum([*self.map.tolist(), *self.hidden.values()])
