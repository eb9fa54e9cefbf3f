"""Normalisation layers as frozen linear maps: which kind a module is, found by probing it.

RMSNorm and LayerNorm are both ``coefficient * linear(x) + beta`` once their denominator is held at its value for the
prompt (Golden 2025, section 3). A module's class name says nothing reliable about its weight convention (``gamma`` or
``1 + gamma``) or its epsilon, so each candidate formula is compared with what the module returns on random inputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, no_type_check

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from eqlin_core.dtypes import coefficient_dtype, wide
from eqlin_core.errors import out_of_memory

_EPSILON_NAMES = ("eps", "variance_epsilon", "epsilon", "layer_norm_eps", "norm_eps")
# Of norms that keep theirs in the code of their forward pass.
_EPSILONS = (1e-5, 1e-6, 1e-8, 1e-12)
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


class NoNorm(NormRule):
    """Of a model that has no norm where one is asked for: everything stays as it is."""

    def coefficient(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Ones."""
        return torch.ones_like(x.detach(), dtype=coefficient_dtype(x.dtype))


NO_NORM = NoNorm(centred=False, gamma=None, beta=None, eps=0.0, weight_convention="none")


def probe_norm(module: nn.Module, call: Callable[[Tensor], Tensor], example: Tensor) -> NormRule | None:
    """The rule of ``module`` if some normalisation formula reproduces it on random inputs, else None.

    ``call`` runs the module as the network would, ``example`` [..., d] gives shape, dtype and device of its input. A
    half precision module is asked in float32 where it can answer, because its own rounding hides what it computes.
    """
    for dtype in dict.fromkeys((coefficient_dtype(example.dtype), example.dtype)):
        probes = _probe_inputs(example, dtype)
        try:
            with warnings.catch_warnings(action="ignore"):  # torch remarks that float32 meets half precision weights
                outputs = [call(x) for x in probes]
                parameters = _parameters(module, call, probes[0])
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            if out_of_memory(error):
                raise
            continue
        pairs = list(zip(probes, outputs, strict=True))
        if all(isinstance(y, Tensor) and y.shape == x.shape and y.dtype == dtype for x, y in pairs):
            rules = _candidates(module, parameters, example.dtype)
            return next((rule for rule in rules if all(_agrees(rule, x, y) for x, y in pairs)), None)
    return None


def final_norm_rule(module: nn.Module, example: Tensor) -> NormRule | None:
    """The rule of a model's final norm: that of ``probe_norm``, or ``NO_NORM`` for the identity of a model without."""
    return NO_NORM if isinstance(module, nn.Identity) else probe_norm(module, module, example)


class _DuringForward(TorchFunctionMode):
    """Reads a module's parameters while it runs: accelerate keeps them on the meta device at any other time."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module
        self.parameters: dict[str, Tensor] = {}

    @no_type_check  # runs for every function of a pass: checking it would take longer than the pass
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        present = dict(self._module.named_parameters(recurse=False))
        if not self.parameters and not any(p.is_meta for p in present.values()):
            self.parameters = {name: p.detach().clone() for name, p in present.items()}
        return func(*args, **(kwargs or {}))


def _parameters(module: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor) -> dict[str, Tensor]:
    present = {name: p.detach() for name, p in module.named_parameters(recurse=False)}
    if any(p.is_meta for p in present.values()):
        with _DuringForward(module) as seen:
            call(x)
        return seen.parameters
    return present


def _probe_inputs(example: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Random inputs at an ordinary scale, a shifted one, and one so small that epsilon matters."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, *example.shape[1:]) if example.dim() < 3 else (1, min(example.shape[1], 3), *example.shape[2:])
    draw = torch.randn(shape, generator=generator, dtype=torch.float64)
    scaled = (draw, 4 * draw + 3, 2e-3 * draw)
    return [x.to(device=example.device, dtype=dtype) for x in scaled]


def _candidates(module: nn.Module, parameters: dict[str, Tensor], dtype: torch.dtype) -> Iterator[NormRule]:
    weight, beta = parameters.get("weight"), parameters.get("bias")
    gammas: list[tuple[str, Tensor | None]] = [("none", None)]
    if weight is not None:
        wide = weight.to(coefficient_dtype(dtype))
        gammas = [("gamma", wide), ("1 + gamma", 1 + wide)]
    epsilons = [float(v) for n in _EPSILON_NAMES if isinstance(v := getattr(module, n, None), float | int)]
    for eps in dict.fromkeys([*epsilons, torch.finfo(dtype).eps, torch.finfo(torch.float32).eps, 0.0, *_EPSILONS]):
        for name, gamma in gammas:
            for centred in (False, True):
                yield NormRule(centred=centred, gamma=gamma, beta=beta, eps=eps, weight_convention=name)


def _agrees(rule: NormRule, x: Tensor, y: Tensor) -> bool:
    try:
        if rule.gamma is not None and torch.broadcast_shapes(rule.gamma.shape, x.shape) != x.shape:
            return False  # the weight is a matrix, and x has a single token
        formula = rule.linear(x, rule.coefficient(x))
    except RuntimeError:
        return False
    if formula.shape != y.shape:
        return False
    error = wide(formula - y.to(formula.device)).norm()
    return bool(error <= _TOLERANCE[x.dtype] * wide(y).norm() + torch.finfo(torch.float64).tiny)
