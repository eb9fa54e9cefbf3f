"""The proof that a recorded network is linear: a walk over its autograd graph, from the target back to the source.

Every node between the two must be linear in the source. A product of two tensors that both depend on the source, a
softmax, a reciprocal root, a clamp or a cast to a lower precision is a *leak*, reported with the module it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor

# Linear in whatever differentiable parents they have.
LINEAR = {
    "AccumulateGrad", "Add", "AsStrided", "Cat", "Clone", "Contiguous", "CopySlices", "Diagonal", "Expand", "Flip",
    "Gather", "Identity", "IndexAdd", "IndexPut", "Index", "IndexSelect", "MaskedFill", "MaskedScatter", "Mean",
    "Narrow",
    "Neg", "Permute", "Repeat", "ReshapeAlias", "Roll", "Rsub", "ScatterAdd", "Scatter", "Select", "SelectBackward",
    "Slice", "Split", "SplitWithSizes", "Squeeze", "Stack", "Sub", "Sum", "SwapAxes", "T", "ToCopy", "Transpose",
    "Unbind",
    "UnsafeSplit", "UnsafeView", "Unsqueeze", "View", "Where", "Zero", "Alias", "Unfold", "CopyBackwards", "Copy",
    "IndexFill", "IndexReduce", "ConstantPadNd", "RepeatInterleave", "Cumsum", "Trace", "Tril", "Triu", "MoveDim",
    "Fill", "EmbeddingBag", "Detach", "ViewAs", "Movedim", "BroadcastTensors", "Squeeze_", "Real",
}  # fmt: skip
# Linear only while a single one of their operands depends on the source.
BILINEAR = {
    "Mul", "Mm", "Bmm", "Addmm", "Addbmm", "Baddbmm", "Linear", "Dot", "Mv", "Convolution", "Addcmul", "Matmul",
    "GroupedMm", "ScaledGroupedMm", "Addmv", "Outer", "Einsum", "Ger", "MatMul4Bit",
}  # fmt: skip
# Those whose first operand is added, so that the product's factors start at 1.
PRODUCT_FIRST = {"Addmm": 1, "Addbmm": 1, "Baddbmm": 1, "Addcmul": 1, "Addmv": 1}
_CAST = "cast to"
_PRECISION = {torch.float64: 3, torch.float32: 2, torch.float16: 1, torch.bfloat16: 1}


@cache
def kind_of(name: str) -> str:
    """The operation behind an autograd node, by the name of its class."""
    return re.sub(r"Backward\d*$", "", name)


class GraphNames:
    """Which module made each autograd node, told by the modules as they are entered and left."""

    def __init__(self) -> None:
        self._owner: dict[Any, str] = {}
        self._running = [""]

    def enter(self, name: str, inputs: Iterable[Tensor]) -> None:
        """Module ``name`` starts: what stands behind its inputs was made by the modules that run already."""
        self._claim(self._running[-1], inputs)
        self._running.append(name)

    def leave(self, outputs: Iterable[Tensor]) -> None:
        """The innermost running module ends: nodes behind its outputs that nobody owns are its own."""
        self._claim(self._running.pop(), outputs)

    def _claim(self, name: str, tensors: Iterable[Tensor]) -> None:
        stack = [t.grad_fn for t in tensors if t.grad_fn is not None]
        while stack:
            node = stack.pop()
            if node not in self._owner:
                self._owner[node] = name
                stack.extend(parent for parent, _ in node.next_functions if parent is not None)

    def name(self, node: Any) -> str:
        """The module's qualified name, or the empty string where the outermost model made the node."""
        return self._owner.get(node, "")


def reachable(target: Tensor, stop: Collection[Any] = ()) -> set[Any]:
    """Every autograd node on the path from ``target`` back to its leaves, or to the nodes where it has to ``stop``."""
    seen: set[Any] = set()
    stack = [target.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen or node in stop:
            continue
        seen.add(node)
        stack.extend(parent for parent, _ in node.next_functions)
    return seen


def find_leaks(nodes: Iterable[Any], names: GraphNames, dtype: torch.dtype) -> list[str]:
    """What is not linear among ``nodes``, one line each: ``model.layers.3.mlp: product of two linear-path tensors``.

    ``dtype`` is that of the linear path; a node that casts the path below it is a leak as well.
    """
    leaks: dict[str, None] = {}
    for node in nodes:
        reason = _leak(node, dtype)
        if reason:
            leaks[f"{names.name(node) or 'the model itself'}: {reason}"] = None
    return sorted(leaks)


def casting_modules(leaks: Iterable[str]) -> set[str]:
    """The modules that ``find_leaks`` found to cast the linear path to a lower precision."""
    found = (leak.partition(f": {_CAST}") for leak in leaks)
    return {name for name, cast, _ in found if cast}


def _leak(node: Any, dtype: torch.dtype) -> str | None:
    kind = kind_of(type(node).__name__)
    parents = [parent is not None for parent, _ in node.next_functions]
    if kind in BILINEAR:
        factors = sum(parents[PRODUCT_FIRST.get(kind, 0) :])
        return "product of two tensors that both depend on the input" if factors > 1 else None
    if kind == "Div":
        return "division by a tensor that depends on the input" if len(parents) > 1 and parents[1] else None
    if kind not in LINEAR:
        return f"{kind} is not linear"
    if kind == "ToCopy":
        lost = [m for m in getattr(node, "_input_metadata", ()) if _PRECISION.get(m.dtype, 9) < _PRECISION[dtype]]
        return f"{_CAST} {str(lost[0].dtype).removeprefix('torch.')} on the linear path" if lost else None
    return None
