"""What a model computes between its modules, frozen: gates, mixing weights, choices, activations as functions.

A ``TorchFunctionMode`` sees every torch function of a pass together with the module it runs in. While recording it
decides what to hold and keeps it under (module, visit, function, count); while replaying it puts it back there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, no_type_check

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from eqlin_core.dtypes import coefficient_dtype
from eqlin_core.errors import EqlinError
from eqlin_core.freezing.activations import Activation, probe_activation
from eqlin_core.freezing.products import Role, Roles, gate_factor, weight_factor
from eqlin_core.runs.convention import Convention

_PRODUCTS = {"mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__"}
_ACTIVATIONS = {
    "silu", "gelu", "relu", "relu_", "relu6", "mish", "leaky_relu", "hardswish", "hardtanh",
    "clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_max",
}  # fmt: skip
_CASTS = {"float", "to", "type"}
_Key = tuple[str, int, str, int]


@dataclass(frozen=True)
class _Hold:
    """One operand of a product is held."""

    operand: int
    value: Tensor


@dataclass(frozen=True)
class _Share:
    """Each operand of a product is held once: so much of the product goes by the first, the rest by the second."""

    first: Tensor
    second: Tensor
    by_first: float


@dataclass(frozen=True)
class _Scale:
    """An activation is its closed form: a held factor times its input."""

    factor: Tensor


@dataclass(frozen=True)
class _Uncast:
    """A cast to a lower precision is left out."""


@dataclass(frozen=True)
class _Choose:
    """Everything discrete that a function returned is held: which experts, in which order, on which side of zero."""

    chosen: dict[int, Tensor]


class FrozenFunctions(TorchFunctionMode):
    """The functions of one frozen network; enter it around a pass, after ``start``.

    ``keep(module, rule)`` is told every rule that was recorded. ``rules`` names the freezing rules that apply, of
    "gates" and "router". The modules ``uncast`` work in the precision of what they are given, without casts to a lower
    one.
    """

    def __init__(
        self,
        convention: Convention,
        rules: Collection[str],
        keep: Callable[[str, str], None],
        uncast: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.roles = Roles()
        self.token_by_token = False
        self.tokens, self.first = 0, 0
        self._convention, self._rules, self._keep = convention, rules, keep
        self._uncast = uncast
        self._kept: dict[_Key, Any] = {}
        self._scopes: set[str] = set()
        self._activations: dict[Any, Activation | None] = {}
        self.start(recording=True)

    @property
    def scopes(self) -> set[str]:
        """The modules in which something was frozen."""
        return self._scopes

    @property
    def chooses(self) -> bool:
        """Whether a discrete choice was held: then shapes may depend on values off the linear path."""
        return any(isinstance(action, _Choose) for action in self._kept.values())

    def start(self, *, recording: bool) -> None:
        """A new pass begins at the outermost module."""
        self._recording = recording
        self._running: list[tuple[str, int]] = [("", 0)]
        self._visits: dict[str, int] = defaultdict(int)
        self._counts: dict[tuple[str, int, str], int] = defaultdict(int)
        self._paused = 0
        self.token_by_token = False

    def enter(self, name: str) -> None:
        """Module ``name`` starts."""
        self._running.append((name, self._visits[name]))
        self._visits[name] += 1

    def leave(self) -> None:
        """The innermost running module ends."""
        self._running.pop()

    def forget(self, name: str) -> None:
        """What was frozen inside module ``name`` is not needed: its whole output is replaced or never read."""
        self._scopes.discard(name)
        for key in [key for key in self._kept if key[0] == name]:
            del self._kept[key]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within the context functions run as they are: the engine's own arithmetic is no part of the network."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def fit(self, held: Tensor, live: Tensor) -> Tensor:
        """A tensor recorded on one prompt, repeated to the rows of the tensor that it replaces in a batch.

        Raises EqlinError, naming the module, where the replay has come to a tensor of another shape.
        """
        if self.first:
            held = self._from_first(held, live)
        if held.dim() == live.dim() and held.dim() and held.shape[0] not in (1, live.shape[0]):
            copies = live.shape[0] // held.shape[0]
            rest = [1] * (held.dim() - 1)
            held = held.repeat_interleave(copies, 0) if self.token_by_token else held.repeat(copies, *rest)
        if any(h not in (1, n) for h, n in zip(held.shape[::-1], live.shape[::-1], strict=False)):
            raise EqlinError(
                f"{self._running[-1][0] or 'The model'} computes other shapes for another input, so it cannot be "
                "frozen; choose another model."
            )
        return held

    def _from_first(self, held: Tensor, live: Tensor) -> Tensor:
        """A recorded tensor without the positions before ``first``, where the replayed one has none of them."""
        left = self.tokens - self.first
        for dim, (h, n) in enumerate(zip(held.shape, live.shape, strict=False)):
            rows = dim == 0 and held.dim() == 2 and n % left == 0  # positions of all prompts, one after the other
            if held.dim() == live.dim() and h == self.tokens and (n == left or rows):
                held = held.narrow(dim, self.first, left)
        return held

    @no_type_check  # runs for every function of a pass: checking it would take longer than the pass
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if self._paused or name == "__get__":
            return func(*args, **kwargs)
        module, visit = self._running[-1]
        if not self._recording and module not in self._scopes:
            return func(*args, **kwargs)
        place = (module, visit, name)
        key = (*place, self._counts[place])
        self._counts[place] += 1
        return self._record(key, func, args, kwargs) if self._recording else self._replay(key, func, args, kwargs)

    # ---- recording --------------------------------------------------------------------------------------------------

    def _record(self, key: _Key, func: Any, args: Any, kwargs: Any) -> Any:
        name = key[2]
        if name in _PRODUCTS and len(args) == 2 and all(_depends(a) for a in args):
            action = self._product(key[0], *args)
            if action is not None:
                self._remember(key, action)
                if isinstance(action, _Share):
                    out = _shared(args[0], args[1], action)
                    self.roles.mark_linear(out)
                    return out
                out = _multiply(func, name, args, action.operand, action.value)
                if self.roles.of(args[action.operand]) is Role.WEIGHT and not _mixes(args, action.operand):
                    self.roles.mark_gate(out)  # x * sigmoid(...) written out
                return out
        if name in _ACTIVATIONS and "gates" in self._rules and args and _depends(args[0]):
            scaled = self._activation(key, func, args, kwargs)
            if scaled is not None:
                return scaled
        out = func(*args, **kwargs)
        if key[0] in self._uncast and name in _CASTS and _depends(args[0]) and _narrower(out, args[0]):
            self._remember(key, _Uncast())
            return args[0]
        if not isinstance(out, bool | int | float | torch.Size | torch.dtype):
            chosen = {i: t for i, t in enumerate(_items(out)) if isinstance(t, Tensor) and not t.is_floating_point()}
            if chosen and any(_depends(t) for t in (*_items(args), *kwargs.values())):
                self._remember(key, _Choose({i: t.clone() for i, t in chosen.items()}))
                if name in ("topk", "argmax", "sort", "argsort"):
                    self._keep(key[0], "choice of experts held")
        return out

    def _product(self, module: str, left: Tensor, right: Tensor) -> _Hold | _Share | None:
        roles, factors = (self.roles.of(left), self.roles.of(right)), (left, right)
        weight, gate = weight_factor(*roles), gate_factor(*roles)
        if weight is not None:
            mixes = _mixes(factors, weight)
            if ("router" if mixes else "gates") not in self._rules:
                return None
            self._keep(module, "mixing weights held" if mixes else "sigmoid held")
            return _Hold(weight, factors[weight].detach())
        if gate is None or "gates" not in self._rules:
            return None
        share = self._convention.gate_share
        if share in (0, 1):
            held = gate if share == 0 else 1 - gate
            self._keep(module, "gate held whole, up linear" if share == 0 else "up held, gate linear")
            return _Hold(held, factors[held].detach())
        self._keep(module, f"gate held whole, up linear ({1 - share:.3g} of it), up held, gate linear ({share:.3g})")
        return _Share(left.detach(), right.detach(), share if gate == 0 else 1 - share)

    def _activation(self, key: _Key, func: Any, args: Any, kwargs: Any) -> Tensor | None:
        x, *rest = args
        if self.roles.of(x) not in (Role.LINEAR, Role.GATE) or any(isinstance(a, Tensor) for a in rest):
            return None
        kind = (func, repr(rest), repr(kwargs))
        if kind not in self._activations:
            with torch.no_grad():
                self._activations[kind] = probe_activation(lambda g: func(g, *rest, **kwargs), x.device)
        activation = self._activations[kind]
        if activation is None or activation.factor is None:
            return None
        with torch.no_grad():
            factor = activation.factor(x.detach().to(coefficient_dtype(x.dtype)))
        self._remember(key, _Scale(factor))
        self._keep(key[0], f"{activation.name} as s(x) x")
        out = _scale(key[2], x, factor, kwargs)
        if activation.name != "clipping":  # a clipped tensor may be either side of a gate
            self.roles.mark_gate(out)
        return out

    def _remember(self, key: _Key, action: Any) -> None:
        self._kept[key] = action
        self._scopes.add(key[0])

    # ---- replaying --------------------------------------------------------------------------------------------------

    def _replay(self, key: _Key, func: Any, args: Any, kwargs: Any) -> Any:
        action = self._kept.get(key)
        if isinstance(action, _Hold):
            return _multiply(func, key[2], args, action.operand, self.fit(action.value, args[action.operand]))
        if isinstance(action, _Uncast):
            return args[0]
        if isinstance(action, _Share):
            first, second = self.fit(action.first, args[0]), self.fit(action.second, args[1])
            return _shared(args[0], args[1], _Share(first, second, action.by_first))
        if isinstance(action, _Scale):
            return _scale(key[2], args[0], self.fit(action.factor, args[0]), kwargs)
        out = func(*args, **kwargs)
        if isinstance(action, _Choose):
            items = list(_items(out))
            for i, chosen in action.chosen.items():
                items[i] = self.fit(chosen, items[i])
            return items[0] if isinstance(out, Tensor) else type(out)(items)
        return out


def _depends(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _narrower(cast: Tensor, tensor: Tensor) -> bool:
    return cast.dtype.is_floating_point and torch.finfo(cast.dtype).eps > torch.finfo(tensor.dtype).eps


def _items(value: Any) -> tuple[Any, ...] | list[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _mixes(factors: Any, held: int) -> bool:
    """Whether the held factor is one number for each row, as mixing weights are."""
    return factors[held].shape[-1:] == (1,) and factors[1 - held].shape[-1:] != (1,)


def _multiply(func: Any, name: str, args: Any, held: int, value: Tensor) -> Tensor:
    if held == 0 and name in ("mul_", "__imul__"):  # the result has to live: a held left side cannot become it in place
        return value * args[1]
    return func(value, args[1]) if held == 0 else func(args[0], value)


def _shared(first: Tensor, second: Tensor, held: _Share) -> Tensor:
    """The product whose first factor's path carries ``held.by_first`` of it, its second factor's path the rest."""
    return held.by_first * first * held.second + (1 - held.by_first) * held.first * second


def _scale(name: str, x: Tensor, factor: Tensor, kwargs: Any) -> Tensor:
    if name.endswith("_") or kwargs.get("inplace"):
        return x.mul_(factor.to(x.dtype))
    return (factor * x.to(factor.dtype)).to(x.dtype)
