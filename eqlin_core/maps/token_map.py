"""The map of one token alone, by passes over the positions that it reaches: nothing before it takes part."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.freezing.network import usable
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.multiplication import passes
from eqlin_core.resources import budget, plan


class TokenMap:
    """J_i of one token as an operator: ``apply`` J_i v and ``adjoint`` J_i^T u, for rows of vectors.

    Where the network is causal, both kinds of pass run over the ``positions`` = T - i from the token on, instead of all
    T; the reverse passes go through a graph of their own, traced at the first of them and gone with this object.
    """

    def __init__(self, lin: LinearMap, token: int) -> None:
        self._lin, self.products = lin, lin.products
        token %= lin.n_tokens
        causal = lin.network.causal
        self._reaches = not causal or token <= lin.position
        self._first = token if causal and self._reaches else 0
        self._at = token - self._first
        self.positions = lin.n_tokens - self._first
        self._constant: Tensor | None = None
        self._graph: tuple[Tensor, Tensor] | None = None

    @passes
    def apply(self, v: Float[Tensor, "m d_in"]) -> Float[Tensor, "m d_out"]:
        """J_i v of every row v."""
        lin = self._lin
        out = lin.output.new_zeros(len(v), len(lin.output))
        v = usable(v).to(lin.inputs)

        def part(start: int, stop: int) -> None:
            constant = self._constant
            # the last row, without any token, is what biases add from here on
            alone = v.new_zeros(stop - start + (constant is None), self.positions, lin.width)
            alone[: stop - start, self._at] = v[start:stop]
            values = lin.network.replay(alone, self._first)[:, lin.position - self._first]
            self._constant = values[-1] if constant is None else constant
            out[start:stop] = values[: stop - start] - self._constant

        if self._reaches:
            budget.in_chunks(len(v), self._chunk(), part)
        return out

    @passes
    def adjoint(self, u: Float[Tensor, "m d_out"]) -> Float[Tensor, "m d_in"]:
        """J_i^T u of every row u."""
        lin = self._lin
        lin.network.require_same_weights()
        out = lin.inputs.new_zeros(len(u), lin.width)
        u = usable(u).to(lin.output)

        def part(start: int, stop: int) -> None:
            leaf, value = self._traced()
            (rows,) = torch.autograd.grad(value, leaf, u[start:stop], retain_graph=True, is_grads_batched=True)
            out[start:stop] = rows[:, 0, self._at]

        if self._reaches:
            budget.in_chunks(len(u), self._chunk(), part)
        return out

    def _traced(self) -> tuple[Tensor, Tensor]:
        """(leaf [1, positions, d], the value at the target [d]) of a graph from the token on."""
        if self._graph is None:
            lin = self._lin
            if self._first == 0:  # the graph of all positions exists
                with torch.enable_grad():
                    self._graph = lin.network.leaf, lin.network.values[lin.position]
            else:
                leaf = lin.inputs[self._first :][None].clone().requires_grad_()
                with torch.enable_grad():
                    self._graph = leaf, lin.network.traced(leaf, self._first)[0, lin.position - self._first]
        return self._graph

    def _chunk(self) -> int:
        lin = self._lin
        live = lin.convention.weight_share > 0
        return plan.chunk_rows(lin.lm, self.positions, lin.inputs.device, lin.memory_budget, live=live)
