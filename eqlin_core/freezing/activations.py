"""Activations as frozen factors: the closed form ``act(x) = s(x) x`` that a module or a function follows.

``s`` is sigmoid for SiLU, Phi for GELU, a step for ReLU, never the quotient ``act(x) / (x + eps)``. Which closed form
it is gets found by evaluating the activation, not by its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eqlin_core.dtypes import has_float64

Factor = Callable[[Tensor], Tensor]


def _gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# name -> s with act(x) = s(x) * x
CLOSED_FORMS: dict[str, Factor] = {
    "SiLU": torch.sigmoid,
    "GELU": lambda x: 0.5 * torch.special.erfc(-x / math.sqrt(2)),
    "GELU (tanh)": _gelu_tanh,
    "GELU (quick)": lambda x: torch.sigmoid(1.702 * x),
    "ReLU": lambda x: (x > 0).to(x.dtype),
    "squared ReLU": torch.relu,
    "leaky ReLU": lambda x: torch.where(x > 0, 1.0, 0.01),
    "hard swish": lambda x: (x + 3).clamp(0, 6) / 6,
    "Mish": lambda x: torch.tanh(torch.nn.functional.softplus(x)),
}
# Stock code may evaluate parts of an activation in float32.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Activation:
    """An elementwise function and its closed form ``factor``: act(x) = factor(x) * x; None where it has none."""

    name: str
    factor: Factor | None


def holds_activations(rules: Collection[str]) -> bool:
    """Whether these freezing rules hold an activation's factor s(x): "gates", or "activations" alone.

    The latter leaves a product of two live factors, as in a gated MLP, to its ordinary derivative.
    """
    return "gates" in rules or "activations" in rules


def with_parameters(module: nn.Module) -> Activation | None:
    """The closed form of an activation that has parameters of its own, where it is known; by its class."""
    if type(module).__name__ != "XIELUActivation":
        return None
    values = (*module.named_parameters(), *module.named_buffers())
    own = {name: value.detach().cpu().double() for name, value in values}
    beta, eps = own["beta"], float(own["eps"])
    rising, falling = nn.functional.softplus(own["alpha_p"]), beta + nn.functional.softplus(own["alpha_n"])

    def factor(x: Tensor) -> Tensor:
        up, down, slope = rising.to(x), falling.to(x), beta.to(x)
        below = x.clamp(max=eps)
        left = (torch.expm1(below) / below - 1) * down + slope
        return torch.where(x > 0, up * x + slope, left)

    return Activation("xIELU", factor)


def probe_activation(call: Callable[[Tensor], Tensor], device: torch.device) -> Activation | None:
    """What ``call`` is if it acts element by element, else None; evaluated in float64 whatever the model's dtype is.

    A function that clips (the identity up to a bound, constant beyond) has the closed form clip(x) / x beyond it, which
    never divides by a small number. Any other elementwise function outside ``CLOSED_FORMS`` has the factor None. On a
    device without float64 the function is asked on the CPU.
    """
    if not has_float64(device):
        device = torch.device("cpu")
    grid = _grid().to(device)
    shuffled = torch.randperm(grid.numel(), generator=torch.Generator().manual_seed(0)).to(device)
    try:
        out, permuted = call(grid.clone().view(1, 4, -1)), call(grid[shuffled].view(1, 4, -1))
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None
    if not isinstance(out, Tensor) or out.shape != (1, 4, grid.numel() // 4):
        return None
    flat = out.reshape(-1).double()
    if not torch.allclose(flat[shuffled], permuted.reshape(-1).double(), rtol=1e-5, atol=1e-7):
        return None
    for name, factor in CLOSED_FORMS.items():
        if ((factor(grid) * grid - flat).abs() <= _TOLERANCE * (1 + flat.abs())).all():
            return Activation(name, factor)
    if _clips(grid, flat):
        return Activation("clipping" if (grid != flat).any() else "identity", lambda x: _clip_factor(call, x))
    return Activation("an unknown activation", None)


def _grid() -> Tensor:
    """Ordinary values, and a few large ones: a bound that only they reach is a bound all the same."""
    large = torch.tensor([10.0, 25.0, 70.0, 150.0, 300.0, 1000.0], dtype=torch.float64)
    return torch.cat([torch.linspace(-6, 6, 4 * 97, dtype=torch.float64), large, -large])


def _clips(x: Tensor, y: Tensor) -> bool:
    changed = x != y
    return bool((x[changed].abs() > 1e-3).all()) and all(
        y[changed & side].unique().numel() <= 1 for side in (x > 0, x < 0)
    )


def _clip_factor(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    y = call(x.clone())
    return torch.where(y == x, torch.ones_like(x), y / x)
