"""Reductions that are linear once what they depend on is held: a standard deviation, the largest of each group."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eqlin_core.freezing.actions import Call, ReadsAll, depends


@dataclass(frozen=True)
class Deviate(ReadsAll):
    """A standard deviation is a mean of its centred input with these held factors."""

    factor: Tensor
    options: dict[str, Any]

    def of(self, x: Tensor) -> Tensor:
        """The standard deviation of the recorded input, and a linear function of this one."""
        return (self.factor * (x - x.mean(**self.options))).mean(**self.options)

    def again(self, call: Call) -> Tensor:
        """That of this input."""
        x = call.given("input", 0) if call.kwargs.get("input") is not None else call.args[0]
        return Deviate(call.fit(self.factor, x), self.options).of(x)


@dataclass(frozen=True)
class Largest(ReadsAll):
    """Of each group of rows the largest number of each column: which row it stands in is held."""

    rows: Tensor
    any_row: Tensor

    def of(self, source: Tensor) -> Tensor:
        """The numbers in the held rows, and zero for a group that has none."""
        rows, any_row = (t.expand(len(source), *t.shape[1:]) for t in (self.rows, self.any_row))
        return source.gather(1, rows) * any_row

    def again(self, call: Call) -> Tensor:
        """Those of these rows."""
        return self.of(call.given("src", 3))


@torch.no_grad()
def held_deviation(func: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Deviate, Tensor] | None:
    """What to hold of a call of torch's ``std`` along one axis, and its input; None for other calls."""
    given = dict(zip(("input", "dim", "unbiased", "keepdim"), args, strict=False)) | kwargs
    x, dim = given["input"], given.get("dim")
    if not depends(x) or not isinstance(dim, int) or not given.get("keepdim"):
        return None
    options = {"dim": dim, "keepdim": True}
    lost = given.get("correction", 1 if given.get("unbiased", True) else 0)
    spread = func(*args, **kwargs) * (x.shape[dim] - lost) / x.shape[dim]
    return Deviate((x - x.mean(**options)) / spread, options), x


@torch.no_grad()
def held_largest(args: Any, kwargs: Any) -> tuple[Largest, Tensor] | None:
    """What to hold of a call of torch's ``scatter_reduce`` for maxima along axis 1, and its source; None for others."""
    given = dict(zip(("input", "dim", "index", "src", "reduce"), args, strict=False)) | kwargs
    source, index, into = given["src"], given["index"], given.get("input")
    whole = given["reduce"] == "amax" and given["dim"] == 1 and not given.get("include_self", True)
    if not whole or not depends(source) or not isinstance(into, Tensor) or depends(into):
        return None
    rows, found = [], []
    for group in range(into.shape[1]):
        inside = index == group
        rows.append(source.masked_fill(~inside, -math.inf).argmax(1, keepdim=True))
        found.append(inside.any(1, keepdim=True))
    return Largest(torch.cat(rows, 1), torch.cat(found, 1)), source
