"""What a sweep over all layers costs, by forward accumulation and by reverse passes, and which of the two to take.

Both numbers count multiplications. A dense pass is d rows of T positions through L blocks of N weights each, d T L N.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Method = Literal["forward", "reverse"]


@dataclass(frozen=True)
class SweepCost:
    """Multiplications and peak bytes of the cumulative maps of all layers and kinds, both ways."""

    forward: int
    reverse: int
    forward_bytes: int
    reverse_bytes: int

    def cheaper(self, memory: int) -> Method:
        """The way to go within so many bytes: forward accumulation unless it is slower or does not fit."""
        return "forward" if self.forward <= self.reverse and self.forward_bytes <= memory else "reverse"


def sweep_cost(
    tokens: int, width: int, layers: int, *, values: int, mixed: int, inner: int, kinds: int = 3, itemsize: int = 4
) -> SweepCost:
    """The cost at T tokens, width d and L layers.

    ``values`` and ``mixed`` are the widths of the value rows before and after attention, ``inner`` that of the MLP.
    Forward: each block's position-wise matrices once (a dense pass), then their products with the T (T + 1) / 2 pairs
    of a token and a later position, in place of the block's own weights. Reverse: for each block one pass of d rows
    through all blocks before it; the other kinds follow from attention's.
    """
    T, d, L = tokens, width, layers
    weights = d * (values + mixed + 2 * inner)  # N
    pairs = T * (T + 1) // 2
    dense = d * T * L * weights
    forward = dense + L * pairs * d * d * (values + mixed + d)
    reverse = dense * (L + 1) // 2 + L * d * d * (2 * inner + 2 * T * d)
    matrix = T * d * d * itemsize
    operators = T * d * (values + mixed + d) * itemsize
    return SweepCost(
        forward=forward,
        reverse=reverse,
        forward_bytes=pairs * d * d * itemsize + operators + (kinds + 4) * matrix,
        reverse_bytes=(kinds + 4) * matrix,
    )
