"""What is put back in the place of one function of a pass, and how it is applied to other inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from eqlin_core.dtypes import coefficient_dtype
from eqlin_core.freezing.mixing import mix


@dataclass(frozen=True)
class Call:
    """One function of a replay with what it is given; ``fit`` repeats what was recorded to the rows of this batch.

    ``first`` is the position where the batch begins.
    """

    func: Callable[..., Any]
    name: str
    args: Any
    kwargs: Any
    fit: Callable[[Tensor, Tensor], Tensor]
    first: int = 0

    def given(self, name: str, place: int) -> Any:
        """The argument of this name, or in this place."""
        return self.kwargs[name] if name in self.kwargs else self.args[place]

    def run(self) -> Any:
        """What the function itself gives."""
        return self.func(*self.args, **self.kwargs)


@runtime_checkable
class Action(Protocol):
    """What was held of one function."""

    def again(self, call: Call) -> Any:
        """What the function gives with it in its place."""

    def reads(self, args: Any, kwargs: Any) -> Any:
        """Those of the function's arguments whose values that takes."""


class ReadsAll:
    """An action for which every argument of the function counts."""

    def reads(self, args: Any, kwargs: Any) -> Any:
        """All of them."""
        return [*args, *kwargs.values()]


@dataclass(frozen=True)
class Hold:
    """One operand of a product or a quotient is held."""

    operand: int
    value: Tensor

    def reads(self, args: Any, kwargs: Any) -> Any:
        """All but the held operand."""
        return [*args[: self.operand], *args[self.operand + 1 :], *kwargs.values()]

    def again(self, call: Call) -> Tensor:
        """The product with the held operand."""
        held = call.fit(self.value, call.args[self.operand])
        return multiply(call.func, call.name, call.args, self.operand, held)


@dataclass(frozen=True)
class Share(ReadsAll):
    """Each operand of a product is held once: so much of the product goes by the first, the rest by the second."""

    first: Tensor
    second: Tensor
    by_first: float

    def again(self, call: Call) -> Tensor:
        """The product, half of whose path each operand carries, or as it is shared."""
        left, right = call.args
        return shared(left, right, Share(call.fit(self.first, left), call.fit(self.second, right), self.by_first))


@dataclass(frozen=True)
class Scale(ReadsAll):
    """An activation is its closed form: a held factor times its input."""

    factor: Tensor

    def again(self, call: Call) -> Tensor:
        """The factor times this input."""
        return scale(call.name, call.args[0], call.fit(self.factor, call.args[0]), call.kwargs)


@dataclass(frozen=True)
class Uncast(ReadsAll):
    """A cast to a lower precision is left out."""

    def again(self, call: Call) -> Tensor:
        """The input."""
        found: Tensor = call.args[0]
        return found


@dataclass(frozen=True)
class Widen(ReadsAll):
    """Zeros to add to are made in the precision of the path."""

    def again(self, call: Call) -> Tensor:
        """The same zeros, wider."""
        found: Tensor = call.run().double()
        return found


@dataclass(frozen=True)
class Fix(ReadsAll):
    """Some of the parts that a function returns are held."""

    parts: dict[int, Tensor]

    def again(self, call: Call) -> tuple[Tensor, ...]:
        """Its parts, some of them as they were."""
        return tuple(call.fit(self.parts[i], p) if i in self.parts else p for i, p in enumerate(call.run()))


@dataclass(frozen=True)
class Choose(ReadsAll):
    """Everything discrete that a function returned is held: which experts, in which order, on which side of zero."""

    chosen: dict[int, Tensor]

    def again(self, call: Call) -> Any:
        """What it returns, the choice as it was."""
        out = call.run()
        found = list(items(out))
        for i, chosen in self.chosen.items():
            found[i] = call.fit(chosen, found[i]).expand_as(found[i])
        return found[0] if isinstance(out, Tensor) else type(out)(found)


@dataclass(frozen=True)
class Mix:
    """Attention as one function: its weights [1, heads, T, T] are held."""

    weights: Tensor

    def reads(self, args: Any, kwargs: Any) -> Any:
        """The values alone: queries and keys made the weights."""
        return [kwargs["value"] if "value" in kwargs else args[2]]

    def again(self, call: Call) -> Tensor:
        """These values [batch, heads, T, e], mixed."""
        return mix(self.weights[..., call.first :, call.first :], call.given("value", 2)).transpose(1, 2)


def depends(value: Any) -> bool:
    """Whether it is a tensor on the recorded graph."""
    return isinstance(value, Tensor) and value.requires_grad


def narrower(cast: Tensor, tensor: Tensor) -> bool:
    """Whether a cast loses precision although it is to float32: what stock code does in float64 models as well."""
    return (
        cast.dtype == torch.float32
        and cast.dtype.is_floating_point
        and torch.finfo(cast.dtype).eps > torch.finfo(tensor.dtype).eps
    )


def items(value: Any) -> tuple[Any, ...] | list[Any]:
    """What a function returned, one by one."""
    return value if isinstance(value, list | tuple) else (value,)


def mixes_rows(factors: Any, held: int) -> bool:
    """Whether the held factor is one number for each row, as mixing weights are."""
    return factors[held].shape[-1:] == (1,) and factors[1 - held].shape[-1:] != (1,)


def rule_of(factors: Any, weight: int | None) -> tuple[str, str]:
    """By which rule a factor is held, and what is said of it: a weight, or a norm's denominator where there is none."""
    if weight is None:
        return "norms", "norm denominator held"
    return ("router", "mixing weights held") if mixes_rows(factors, weight) else ("gates", "sigmoid held")


def multiply(func: Any, name: str, args: Any, held: int, value: Tensor) -> Tensor:
    """The product or quotient with this value in the place of the held operand."""
    if held == 0 and name in ("mul_", "__imul__"):  # the result has to live: a held left side cannot become it in place
        return value * args[1]
    return func(*args[:held], value, *args[held + 1 :])


def shared(first: Tensor, second: Tensor, held: Share) -> Tensor:
    """The product whose first factor's path carries ``held.by_first`` of it, its second factor's path the rest."""
    return held.by_first * first * held.second + (1 - held.by_first) * held.first * second


def scale(name: str, x: Tensor, factor: Tensor, kwargs: Any) -> Tensor:
    """The input times a held factor, in place where the function of this name works in place."""
    if name.endswith("_") or kwargs.get("inplace"):
        return x.mul_(factor.to(x.dtype))
    return (factor * x.to(factor.dtype)).to(x.dtype)


def weights_of(given: dict[str, Any]) -> Tensor:
    """The weights of a call of torch's scaled dot product attention, in float32 or better."""
    query, key, mask = given["query"], given["key"], given.get("attn_mask")
    dtype = coefficient_dtype(query.dtype)
    if key.shape[1] != query.shape[1]:  # enable_gqa
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scale = given.get("scale")
    scores = query.to(dtype) @ key.to(dtype).transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if given.get("is_causal"):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask.to(dtype)
    return scores.softmax(-1)
