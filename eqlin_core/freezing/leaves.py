"""Norms and activations that are modules of their own: recorded and replayed through forward hooks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from eqlin_core.dtypes import coefficient_dtype
from eqlin_core.freezing.activations import holds_activations, probe_activation, with_parameters
from eqlin_core.freezing.functions import FrozenFunctions
from eqlin_core.freezing.norms import NormRule, probe_norm
from eqlin_core.freezing.probes import like, remembered


class FrozenLeaves:
    """The leaf modules of one frozen network that are norms or activations, with their coefficients.

    ``keep(module, rule)`` is told every rule that was recorded. ``rules`` names the freezing rules that apply, of
    "norms", "gates" and its part "activations". ``functions`` repeats coefficients to a batch and learns which tensors
    are a gate's activation.
    """

    def __init__(self, functions: FrozenFunctions, rules: Collection[str], keep: Callable[[str, str], None]) -> None:
        self._functions, self._rules, self._keep = functions, rules, keep
        self._kept: dict[str, list[tuple[NormRule | None, Tensor]]] = defaultdict(list)
        self._calls: dict[str, int] = defaultdict(int)
        self._probed: dict[Any, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    @property
    def names(self) -> set[str]:
        """The modules that were frozen."""
        return set(self._kept)

    def start(self) -> None:
        """A new pass begins."""
        self._calls.clear()

    def forget(self, name: str) -> None:
        """The output of module ``name`` is never read by the linear path."""
        self._kept.pop(name, None)

    def record(self, name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> Tensor | None:
        """What ``module`` returns once it is frozen; None where it is neither norm nor activation."""
        x = args[0] if args else next(iter(kwargs.values()), None)
        if not (isinstance(x, Tensor) and isinstance(out, Tensor) and x.is_floating_point()):
            return None
        if x.shape != out.shape or len(args) + len(kwargs) != 1:
            return None
        call = partial(_bare_call, module)
        norm = None
        if "norms" in self._rules:
            norm = self._once(name, (probe_norm, like(x)), module, lambda: probe_norm(module, call, x.detach()))
        if norm is not None:
            coefficient = norm.coefficient(x)
            if x.requires_grad:  # before the source it only has to be as precise as after it
                self._kept[name].append((norm, coefficient))
                self._keep(name, norm.description)
            return norm.linear(x, coefficient).to(out.dtype)
        if not x.requires_grad or not holds_activations(self._rules):
            return None
        if any(True for _ in module.parameters(recurse=False)):
            activation = with_parameters(module)
        else:
            asked = (probe_activation, x.device)
            activation = self._once(name, asked, module, lambda: probe_activation(call, x.device))
        if activation is None or activation.factor is None:
            return None
        factor = activation.factor(x.detach().to(coefficient_dtype(x.dtype)))
        self._kept[name].append((None, factor))
        self._keep(name, f"{activation.name} as s(x) x")
        scaled = (factor * x.to(factor.dtype)).to(out.dtype)
        self._functions.roles.mark_gate(scaled)
        return scaled

    def replay(self, name: str, x: Tensor) -> Tensor:
        """What the frozen module ``name`` returns for ``x``."""
        rule, coefficient = self._kept[name][self._calls[name]]
        self._calls[name] += 1
        coefficient = self._functions.fit(coefficient, x)
        if rule is not None:
            return rule.linear(x, coefficient)
        return (coefficient * x.to(coefficient.dtype)).to(x.dtype)

    def _once(self, name: str, key: Any, module: nn.Module, probe: Callable[[], Any]) -> Any:
        """What a probe says about a module, asked once for all its calls (one for each expert, say)."""
        if (name, key[0]) not in self._probed:
            self._probed[name, key[0]] = remembered(module, key, probe)
        return self._probed[name, key[0]]


@torch.no_grad()
def _bare_call(module: nn.Module, x: Tensor) -> Tensor:
    """``module.forward`` without this engine's hooks; a device hook of accelerate stays in place."""
    return module.forward(x)
