"""Mean and spread of matrices that come one after the other, or were averaged in parts: both exact to rounding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass
class Moments:
    """Of ``count`` stacks of matrices their ``mean`` [layers, d, d], in float64, and ``squares`` [layers].

    ``squares`` are the sums of squared Frobenius distances from the mean.
    """

    mean: Float[Tensor, "layers d d"]
    squares: Float[Tensor, " layers"]
    count: int = 0

    @classmethod
    def none(cls, layers: int, d: int) -> Moments:
        """Of nothing yet."""
        return cls(torch.zeros(layers, d, d, dtype=torch.float64), torch.zeros(layers, dtype=torch.float64))

    def add(self, matrices: Float[Tensor, "layers d d"]) -> Float[Tensor, " layers"]:
        """One stack more (Welford); returns by how much the mean has changed, ||change|| / ||mean||, of each layer."""
        self.count += 1
        change = torch.zeros_like(self.squares)
        for i, matrix in enumerate(matrices):  # one layer at a time: a copy of one in float64, not of all
            away = matrix.double() - self.mean[i]
            self.mean[i] += away / self.count
            self.squares[i] += away.square().sum() * (1 - 1 / self.count)
            change[i] = away.norm() / self.count / self.mean[i].norm().clamp_min(torch.finfo(torch.float64).tiny)
        return change

    def merge(self, mean: Float[Tensor, "layers d d"], squares: Float[Tensor, " layers"], count: int) -> None:
        """Those of another part as well (Chan, Golub and LeVeque 1983)."""
        total = self.count + count
        for i, matrix in enumerate(mean):
            away = matrix.double() - self.mean[i]
            self.squares[i] += squares[i] + away.square().sum() * (self.count * count / total)
            self.mean[i] += away * (count / total)
        self.count = total
