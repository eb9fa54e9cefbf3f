"""The largest singular triplets of a map that is never formed, by forward and reverse passes alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import coefficient_dtype
from eqlin_core.linalg.krylov import Triplets, block_krylov
from eqlin_core.linalg.signs import signed
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.maps.token_map import TokenMap
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress

# Relative residuals asked for: the error of a singular value is about their square over the gap to the next.
_TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-4}


@passes
def top_triplets(
    lin: LinearMap,
    k: int = 16,
    *,
    token: int | None = None,
    tolerance: float | None = None,
    block: int | None = None,
    most: int | None = None,
    progress: Progress | None = None,
) -> Triplets:
    """The k largest triplets of [J_1 ... J_T], or of J_i for one ``token`` i, by passes alone: no matrix is formed.

    Takes about 10 k passes, for one token of a causal network only over the positions that it reaches; Vh is [k, T d],
    or [k, d] for one token. U is signed so that u . y >= 0. ``tolerance`` bounds the residuals over sigma_1 (default
    1e-10 in float64, 2e-4 below); after ``most`` passes it is given up. ``block`` vectors go together (default k + 4):
    fewer take fewer passes, and find a value that is repeated more often than that only so often. Raises EqlinError
    for a k outside 1..d or a token that does not exist.
    """
    k = arguments.whole("k", k, 1, checked_map(lin).width, of="the model's width")
    if token is not None:
        token = arguments.position("token", token, lin.n_tokens, f"the prompt has {lin.n_tokens} tokens")
    if tolerance is not None:
        tolerance = arguments.number("tolerance", tolerance, above=0)
    if block is not None:
        block = arguments.whole("block", block, 1, lin.width, of="vectors that go together")
    if most is not None:
        most = arguments.whole("most", most, 1, of="passes")
    arguments.called("progress", progress)
    dtype = coefficient_dtype(lin.inputs.dtype)
    alone = None if token is None else TokenMap(lin, token)

    def forward(rows: Tensor) -> Tensor:
        return (lin.apply(rows.unflatten(1, lin.inputs.shape)) if alone is None else alone.apply(rows)).to(dtype)

    def reverse(rows: Tensor) -> Tensor:
        return (lin.adjoint(rows).flatten(1) if alone is None else alone.adjoint(rows)).to(dtype)

    triplets = block_krylov(
        forward,
        reverse,
        lin.output.new_zeros(len(lin.output), dtype=dtype),
        k,
        _TOLERANCE[dtype] if tolerance is None else tolerance,
        progress,
        block=block,
        most=most,
    )
    U, Vh = signed(triplets.U, triplets.Vh, lin.output)
    return replace(triplets, U=U, Vh=Vh)
