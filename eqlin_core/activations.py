"""Activations as frozen factors, and the gate that a frozen activation forms with the tensor it multiplies.

An activation is frozen through a closed form ``act(x) = s(x) x`` (``s`` is sigmoid for SiLU, Phi for GELU, a step for
ReLU), never through the quotient ``act(x) / (x + eps)``. Which closed form a module follows is found by evaluating it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from eqlin_core.norms import coefficient_dtype


def _gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# name -> s with act(x) = s(x) * x
CLOSED_FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "SiLU": torch.sigmoid,
    "GELU": lambda x: 0.5 * torch.special.erfc(-x / math.sqrt(2)),
    "GELU (tanh)": _gelu_tanh,
    "GELU (quick)": lambda x: torch.sigmoid(1.702 * x),
    "ReLU": lambda x: (x > 0).to(x.dtype),
    "squared ReLU": torch.relu,
    "identity": torch.ones_like,
    "Mish": lambda x: torch.tanh(torch.nn.functional.softplus(x)),
}
# Half-precision activations are evaluated in half precision by the stock code.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}


def probe_activation(call: Callable[[Tensor], Tensor], example: Tensor) -> tuple[str, bool] | None:
    """(name, has a closed form) if the module acts element by element, else None.

    An elementwise function outside ``CLOSED_FORMS`` is ("unnamed", False): it can be frozen as a gate's factor, whose
    value is all that is needed, but not where it acts on the linear path itself.
    """
    grid = torch.linspace(-6, 6, 4 * 97, dtype=torch.float64, device=example.device).to(example.dtype)
    shuffled = torch.randperm(grid.numel(), generator=torch.Generator().manual_seed(0)).to(example.device)
    try:
        out, permuted = call(grid.view(1, 4, 97)), call(grid[shuffled].view(1, 4, 97))
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None
    if not isinstance(out, Tensor) or out.shape != (1, 4, 97):
        return None
    flat = out.reshape(-1).double()
    if not torch.allclose(flat[shuffled], permuted.reshape(-1).double(), rtol=1e-5, atol=1e-7):
        return None
    wide = grid.to(coefficient_dtype(grid.dtype))
    for name, factor in CLOSED_FORMS.items():
        if ((factor(wide) * wide).double() - flat).abs().max() <= _TOLERANCE[example.dtype] * flat.abs().max():
            return name, True
    return "unnamed", False


class ActivationOutput(torch.Tensor):
    """What a frozen activation returns: a tensor that waits to see whether it is multiplied by a linear-path tensor.

    The first operation on it decides. A product with a tensor that depends on the source makes it the factor of a gate
    and calls ``on_gate(other)``; anything else makes it a plain activation on the linear path and calls ``on_plain()``.
    """

    on_gate: Callable[[Tensor], Tensor]
    on_plain: Callable[[], Tensor]

    @staticmethod
    def waiting(value: Tensor, on_gate: Callable[[Tensor], Tensor], on_plain: Callable[[], Tensor]) -> Tensor:
        """``value`` as an output that calls back when it is used."""
        output = value.detach().as_subclass(ActivationOutput)
        output.on_gate, output.on_plain = on_gate, on_plain
        return output

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("__get__", "__set__", "size", "dim"):
            return super().__torch_function__(func, types, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            if getattr(func, "__name__", "") in _PRODUCTS and len(args) == 2:
                waiting, other = args if isinstance(args[0], cls) else args[::-1]
                if isinstance(other, Tensor) and other.requires_grad:
                    return waiting.on_gate(other)
            return func(*[_resolve(a) for a in args], **{k: _resolve(v) for k, v in kwargs.items()})


_PRODUCTS = {"mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__"}


def _resolve(argument: Any) -> Any:
    if isinstance(argument, ActivationOutput):
        return argument.on_plain()
    if isinstance(argument, list | tuple):
        return type(argument)(_resolve(a) for a in argument)
    return argument
