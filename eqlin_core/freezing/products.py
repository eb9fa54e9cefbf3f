"""Products of two tensors that both depend on the source: a gated MLP, a mixture, or neither.

Every tensor of the recorded graph has a role, told by the nodes behind it. A gate's activation times a linear tensor is
a gated MLP, a softmax or sigmoid times a linear tensor is a mixture, a reciprocal root times a linear tensor is a norm;
nothing else is held, so that a product outside
these two patterns stays nonlinear and the audit names it.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from torch import Tensor

from eqlin_core.freezing.leaks import BILINEAR, LINEAR, PRODUCT_FIRST, kind_of


class Role(Enum):
    """How a tensor depends on the source."""

    LINEAR = "linear"
    GATE = "an activation s(x) x with s held: linear, and the gate of what it multiplies"
    WEIGHT = "a function of softmax, sigmoid, tanh, exponential or softplus values only"
    NORM = "a root or a reciprocal root, and what only scales it: a norm's denominator"
    NONLINEAR = "anything else"


_MIXING = {"Softmax", "Sigmoid", "SoftmaxBackward", "Softplus", "LogSigmoid", "Logsumexp", "Tanh", "Exp"}
_ROOTS = {"Rsqrt", "Sqrt"}


class Roles:
    """The role of every tensor of one recorded graph, from the autograd nodes behind it."""

    def __init__(self) -> None:
        self._known: dict[Any, Role] = {}

    def mark_gate(self, tensor: Tensor) -> None:
        """``tensor`` is an activation in its closed form."""
        if tensor.grad_fn is not None:
            self._known[tensor.grad_fn] = Role.GATE

    def mark_linear(self, tensor: Tensor) -> None:
        """``tensor`` starts a new linear path, whatever it was made of."""
        if tensor.grad_fn is not None:
            self._known[tensor.grad_fn] = Role.LINEAR

    def of(self, tensor: Tensor) -> Role:
        """The role of a tensor that requires a gradient."""
        if tensor.grad_fn is None:
            return Role.LINEAR
        stack = [tensor.grad_fn]
        while stack:
            node = stack[-1]
            waiting = [p for p, _ in node.next_functions if p is not None and p not in self._known]
            if node in self._known or not waiting:
                stack.pop()
                if node not in self._known:
                    self._known[node] = self._role(node)
            else:
                stack.extend(waiting)
        return self._known[tensor.grad_fn]

    def _role(self, node: Any) -> Role:
        kind = kind_of(type(node).__name__)
        parents = [None if p is None else self._known[p] for p, _ in node.next_functions]
        roles = {role for role in parents if role is not None}
        if kind in _MIXING or roles == {Role.WEIGHT}:
            return Role.WEIGHT
        if kind in _ROOTS or (kind == "Pow" and abs(getattr(node, "_saved_exponent", 0)) == 0.5):
            return Role.NORM
        if roles == {Role.NORM}:
            return Role.NORM if kind in LINEAR | {"Mul", "Div"} else Role.NONLINEAR
        return self._on_the_path(kind, parents, roles)

    @staticmethod
    def _on_the_path(kind: str, parents: list[Role | None], roles: set[Role]) -> Role:
        """The role of what is neither a weight nor a denominator."""
        factors = [p for p in parents[PRODUCT_FIRST.get(kind, 0) :] if p is not None]
        if kind in BILINEAR and kind != "Mul" and len(factors) <= 1:
            return Role.LINEAR  # a projection starts a new linear path; what leaked before it is for the audit to say
        if not roles <= {Role.LINEAR, Role.GATE} or (kind in BILINEAR and len(factors) > 1):
            return Role.NONLINEAR
        if kind == "Div" and len(parents) > 1 and parents[1] is not None:
            return Role.NONLINEAR
        if kind not in LINEAR and kind not in ("Mul", "Div"):
            return Role.NONLINEAR
        return Role.GATE if Role.GATE in roles else Role.LINEAR


def weight_factor(left: Role, right: Role) -> int | None:
    """Which factor of a mixture is its weights, 0 or 1; None where the product is no mixture."""
    for weight, (role, other) in enumerate(((left, right), (right, left))):
        if role is Role.WEIGHT and other in (Role.LINEAR, Role.GATE):
            return weight
    return None


def norm_factor(left: Role, right: Role) -> int | None:
    """Which factor of a product is a norm's denominator, 0 or 1; None where neither is, or both are."""
    for norm, (role, other) in enumerate(((left, right), (right, left))):
        if role is Role.NORM and other in (Role.LINEAR, Role.GATE):
            return norm
    return None


def gate_factor(left: Role, right: Role) -> int | None:
    """Which factor of a gated product is the gate's activation, 0 or 1; None where the product is not gated."""
    if {left, right} != {Role.GATE, Role.LINEAR}:
        return None
    return 0 if left is Role.GATE else 1
