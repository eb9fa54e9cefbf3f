"""A leak that the recorded graph does not show: the module where f(v) + f(w) is not f(v + w) + f(0).

What a model computes without a graph (under ``no_grad``, on a detached tensor) is a constant in the audited graph and
yet changes when the frozen network is replayed on another input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eqlin_core.dtypes import wide
from eqlin_core.freezing.network import FrozenNetwork


def find_hidden_leaks(network: FrozenNetwork, tolerance: float) -> list[str]:
    """The first module that is not affine in a replay, as a leak's line; empty where every module is.

    One replay of four rows (0, v, w, v + w) with v, w drawn at the scale of the source; ``tolerance`` is relative.
    """
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(2, *network.inputs.shape, generator=generator, dtype=torch.float64)
    v, w = draw.to(network.inputs) * network.inputs.square().mean().sqrt()
    leaks: list[str] = []

    def check(name: str, out: Any) -> None:
        value = out[0] if isinstance(out, tuple) else out
        if leaks or not isinstance(value, Tensor) or value.shape[0] != 4 or not value.is_floating_point():
            return
        nothing, first, second, both = wide(value)
        scale = first.norm() + second.norm() + both.norm()
        if (both - first - second + nothing).norm() > tolerance * scale:
            leaks.append(f"{name}: not linear in the input, although its recorded graph is")

    with network.watching(check):
        network.replay(torch.stack([torch.zeros_like(v), v, w, v + w]))
    return leaks
