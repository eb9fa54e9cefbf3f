"""Normalisation layers as frozen linear maps: which kind a module is, found by probing it.

RMSNorm and LayerNorm are both ``coefficient * linear(x) + beta`` once their denominator is held at its value for the
prompt (Golden 2025, section 3). A module's class name says nothing reliable about its weight convention (``gamma`` or
``1 + gamma``) or its epsilon, so each candidate formula is compared with what the module returns on random inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

_EPSILON_NAMES = ("eps", "variance_epsilon", "epsilon", "layer_norm_eps", "norm_eps")
# A stock norm computes in float32 whatever its dtype, so float64 modules agree with the formula to float32 accuracy.
_TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class NormRule:
    """How one normalisation module acts: ``gamma * (x - centred * mean(x)) / sqrt(mean square + eps) + beta``."""

    centred: bool
    gamma: Tensor | None
    beta: Tensor | None
    eps: float
    weight_convention: str

    @property
    def description(self) -> str:
        """One phrase for reports, such as ``RMSNorm, weight 1 + gamma``."""
        return f"{'LayerNorm' if self.centred else 'RMSNorm'}, weight {self.weight_convention}"

    def coefficient(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """The frozen factor ``gamma / sqrt(mean square + eps)`` at ``x``, in float32 or float64."""
        x = x.detach().to(coefficient_dtype(x.dtype))
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        factor = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)
        return factor.expand_as(x) if self.gamma is None else self.gamma.to(x) * factor

    def linear(self, x: Float[Tensor, "*batch d"], coefficient: Tensor) -> Float[Tensor, "*batch d"]:
        """The norm's affine map with its coefficient held: the linear path stays at least as precise as ``x``."""
        wide = x.to(coefficient.dtype)
        if self.centred:
            wide = wide - wide.mean(-1, keepdim=True)
        out = coefficient * wide
        if self.beta is not None:
            out = out + self.beta.to(out)
        return out.to(x.dtype)


def coefficient_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, float32 for everything below: frozen coefficients are never half precision."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def probe_norm(module: nn.Module, call: Callable[[Tensor], Tensor], example: Tensor) -> NormRule | None:
    """The rule of ``module`` if some normalisation formula reproduces it on random inputs, else None.

    ``call`` runs the module as the network would, ``example`` [..., d] gives shape, dtype and device of its input.
    """
    probes = _probe_inputs(example)
    try:
        outputs = [call(x) for x in probes]
    except (RuntimeError, TypeError, ValueError):
        return None
    if any(not isinstance(y, Tensor) or y.shape != x.shape for x, y in zip(probes, outputs, strict=True)):
        return None
    for rule in _candidates(module, example):
        if all(_agrees(rule, x, y) for x, y in zip(probes, outputs, strict=True)):
            return rule
    return None


def _probe_inputs(example: Tensor) -> list[Tensor]:
    """Random inputs at an ordinary scale, a shifted one, and one so small that epsilon matters."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, *example.shape[1:]) if example.dim() < 3 else (1, min(example.shape[1], 3), *example.shape[2:])
    draw = torch.randn(shape, generator=generator, dtype=torch.float64)
    scaled = (draw, 4 * draw + 3, 2e-3 * draw)
    return [x.to(device=example.device, dtype=example.dtype) for x in scaled]


def _candidates(module: nn.Module, example: Tensor) -> Iterator[NormRule]:
    weight = getattr(module, "weight", None)
    bias = getattr(module, "bias", None)
    beta = bias.detach() if isinstance(bias, Tensor) else None
    dtype = coefficient_dtype(example.dtype)
    gammas: list[tuple[str, Tensor | None]] = [("none", None)]
    if isinstance(weight, Tensor):
        if weight.is_meta or weight.dim() == 0:
            return
        wide = weight.detach().to(dtype)
        gammas = [("gamma", wide), ("1 + gamma", 1 + wide)]
    epsilons = [float(v) for n in _EPSILON_NAMES if isinstance(v := getattr(module, n, None), float | int)]
    for eps in [*dict.fromkeys(epsilons), torch.finfo(torch.float32).eps, 0.0]:
        for name, gamma in gammas:
            for centred in (False, True):
                yield NormRule(centred=centred, gamma=gamma, beta=beta, eps=eps, weight_convention=name)


def _agrees(rule: NormRule, x: Tensor, y: Tensor) -> bool:
    try:
        formula = rule.linear(x, rule.coefficient(x))
    except RuntimeError:
        return False
    if formula.shape != y.shape:
        return False
    error = (formula - y).double().norm()
    return bool(error <= _TOLERANCE[x.dtype] * y.double().norm() + torch.finfo(torch.float64).tiny)
