"""Freezing with some of its rules switched off, for teaching: the sum of J_i x_i then no longer gives the output.

Where a rule is off, the network's own derivative takes its place; with all rules off J_i is the ordinary Jacobian.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.freezing.network import FrozenNetwork
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.maps.relative_error import relative_error
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report
from eqlin_core.reprs import Facts, ShortRepr, counted, error_text
from eqlin_core.runs.exactness import bounds_of

# The rules that can be switched off, and what of the freezing each one stands for.
PARTS = {
    "attention": frozenset({"attention"}),
    "norms": frozenset({"norms"}),
    "gates": frozenset({"gates", "router"}),
}


@dataclass(frozen=True, eq=False, repr=False)
class PartlyFrozen(ShortRepr):
    """J_i = dy/dx_i of a network in which only the rules ``frozen`` hold their coefficients.

    ``inputs`` [T, d], ``output`` [d] and ``bias`` [d] are those of the map with every rule on; ``contributions`` [T, d]
    are J_i x_i; ``reconstruction`` = ||sum_i J_i x_i + b - y|| / ||y||; ``leaks`` names what is not linear any more.
    """

    frozen: tuple[str, ...]
    tokens: list[str]
    inputs: Float[Tensor, "tokens d"]
    output: Float[Tensor, " d"]
    bias: Float[Tensor, " d"]
    contributions: Float[Tensor, "tokens d"]
    reconstruction: float
    dtype: str
    exact: bool
    leaks: list[str]
    _map: LinearMap

    def _facts(self) -> Facts:
        yield "frozen", f"frozen: {', '.join(self.frozen) or 'nothing'}"
        yield "tokens", counted(len(self.tokens), "token")
        yield "width", f"d={self.inputs.shape[-1]}"
        yield "dtype", self.dtype
        yield "exactness", error_text(self.exact, self.reconstruction)

    @property
    def reconstructed(self) -> Float[Tensor, " d"]:
        """sum_i J_i x_i + b, which is y while every rule is on."""
        return self.contributions.sum(0) + self.bias

    def jacobian(self, progress: Progress | bool | None = None) -> Float[Tensor, "tokens d_out d_in"]:
        """J [T, d, d], as ``LinearMap.jacobian`` gives it when every rule is on."""
        return self._map.jacobian(progress)


@passes
def partly_frozen(
    lin: LinearMap, frozen: Collection[str] = tuple(PARTS), *, progress: Progress | None = None
) -> PartlyFrozen:
    """The Jacobian at the prompt of ``lin`` with only the rules in ``frozen`` on: of "attention", "norms", "gates".

    "gates" stands for activations, gated MLPs and the routers of experts. The contributions take two reverse passes of
    the network and one for every token, no matrix. Raises EqlinError for another rule and for a map of an inner place.
    """
    network = checked_map(lin).network
    arguments.called("progress", progress)
    frozen = arguments.several("frozen", frozen, f"a list of some of the rules {', '.join(PARTS)}")
    for rule in frozen:
        if not isinstance(rule, str) or rule not in PARTS:
            raise InvalidValue(f"There is no freezing rule {arguments.shown(rule)}; the rules are {', '.join(PARTS)}.")
    if network.source != "embedding" or network.target != "output":
        raise EqlinError("Rules can be switched off only for the map from the embeddings to the output.")
    report(progress, 0.0, "Recording the network with fewer rules")
    on = tuple(part for part in PARTS if part in frozen)
    rules = frozenset[str]().union(*(PARTS[part] for part in on))
    part = FrozenNetwork(
        lin.lm, lin.inputs, convention=lin.convention, rules=rules, ids=lin.token_ids, products=lin.products
    )
    contributions = _contributions(part, lin.position, lin._pass_rows(), progress)
    error = relative_error(lin.sum_of(contributions), lin.output)
    dtype = dtype_name(lin.inputs.dtype)
    return PartlyFrozen(
        frozen=on,
        tokens=list(lin.tokens),
        inputs=lin.inputs,
        output=lin.output,
        bias=lin.bias,
        contributions=contributions,
        reconstruction=error,
        dtype=dtype,
        exact=error <= bounds_of(dtype, lin.products)[0] and not part.leaks,
        leaks=list(part.leaks),
        _map=LinearMap(lin.lm, part, lin.token_ids, lin.position, lin.memory_budget),
    )


def _contributions(network: FrozenNetwork, position: int, chunk: int, progress: Progress | None) -> Tensor:
    """J_i x_i [T, d]: J_i^T u . x_i is linear in u, and its derivative with respect to u is what is wanted."""
    tokens = network.n_tokens
    with torch.enable_grad():
        value = network.values[position]
        u = torch.zeros_like(value).requires_grad_()
        (adjoint,) = torch.autograd.grad(value, network.leaf, u, create_graph=True)
        sizes = (adjoint[0] * network.inputs).sum(-1)  # tokens
    identity = torch.eye(tokens, dtype=sizes.dtype, device=sizes.device)
    parts = []
    for rows in identity.split(chunk):
        parts.append(torch.autograd.grad(sizes, u, rows, retain_graph=True, is_grads_batched=True)[0])
        report(progress, sum(map(len, parts)) / tokens, "Contributions")
    return torch.cat(parts)
