"""The largest singular triplets of a matrix that is only roughly known, by few products with the true one.

A Davidson iteration (Davidson 1975; for singular triplets Wu & Stathopoulos 2015): what the approximate triplets leave
over is divided by the known gaps of the rough matrix and joins the basis, until both equations of every triplet hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.linalg.decompositions import qr, svd
from eqlin_core.linalg.truncated_svd import truncated_svd

# Of a residual over its singular value, as where a known matrix is decomposed; and what rounding leaves, over sigma_1.
_RESIDUAL = {torch.float64: 1e-7, torch.float32: 2e-4}
_FLOOR = 100
_SPARE = 4  # triplets beyond k that the basis begins with
_KNOWN = 4  # times k: triplets of the rough matrix whose gaps are used
_PROBES = 8
_SEED = 3
_ROUNDS = 12
_CLOSE = 1e-2  # a relative gap below this counts as one of this size
# Two-sided 99.9 % quantile of Student's t with one degree of freedom less than there are probes.
_T_QUANTILE = 5.408


@dataclass(frozen=True)
class Refined:
    """Triplets U [m, k], S [k], Vh [k, n] of a matrix J, with ||J v - s u|| and ||J^T u - s v|| over s_1 [k, 2].

    ``squared``: an estimate of ||J||_F^2, by Student's t within ``squared_error`` of it in 999 of 1000 cases.
    ``passes``: how many vectors J and its transpose were multiplied with.
    """

    U: Float[Tensor, "m k"]
    S: Float[Tensor, " k"]
    Vh: Float[Tensor, "k n"]
    residuals: Float[Tensor, "k 2"]
    squared: float
    squared_error: float
    passes: int


def refined_triplets(
    forward: Callable[[Tensor], Tensor],
    reverse: Callable[[Tensor], Tensor],
    rough: Float[Tensor, "m n"],
    k: int,
) -> Refined:
    """The k largest triplets of the m x n matrix J with ``forward`` [b, n] -> [b, m] and ``reverse`` [b, m] -> [b, n].

    ``rough`` is about J, in the dtype of the result. Eight random directions belong to the basis: they find what the
    rough matrix does not have, and estimate the Frobenius norm. Where the residuals do not fall below the dtype's bound
    (2e-4 of the singular value in float32, 1e-7 in float64, and rounding), J itself is formed by passes and decomposed.
    """
    m, n = rough.shape
    width = min(m, n)
    _, known_S, known_Vh = (part[0] for part in truncated_svd(rough[None], min(width, _KNOWN * k + _SPARE)))
    probes = _random(n, min(_PROBES, n), rough)
    basis, triangle = qr(torch.cat([known_Vh[: k + _SPARE].mT, probes], 1))
    passes, images = basis.shape[1], forward(basis.mT.contiguous()).mT
    probed = images @ triangle[:, -probes.shape[1] :]  # J times the probes
    for _ in range(_ROUNDS):
        u, S, wh = svd(images)
        U, S, W = u[:, :k], S[:k], wh[:k].mT
        V = basis @ W
        rest = reverse(U.mT.contiguous()).mT - V * S
        passes += k
        residuals = rest.norm(dim=0)
        left = residuals > _bound(S)
        room = n - basis.shape[1]
        if not (left.any() and room):
            break
        more = _divided(rest[:, left], S[left], known_S, known_Vh)
        more = _beside(basis, more[:, :room])
        images = torch.cat([images, forward(more.mT.contiguous()).mT], 1)
        basis = torch.cat([basis, more], 1)
        passes += more.shape[1]
    else:
        J = reverse(torch.eye(m).to(rough))
        U, S, Vh = (part[0] for part in truncated_svd(J[None], k))
        errors = torch.stack([(J @ Vh.mT - U * S).norm(dim=0), (J.mT @ U - Vh.mT * S).norm(dim=0)], 1)
        return Refined(U, S, Vh, errors / _top(S), float(J.square().sum()), 0.0, passes + m)
    straight = (images @ W - U * S).norm(dim=0)
    squared, error = _squared_norm(rough, probes, probed, U, S, V)
    return Refined(U, S, V.mT, torch.stack([straight, residuals], 1) / _top(S), squared, error, passes)


def _bound(S: Tensor) -> Tensor:
    return _RESIDUAL[S.dtype] * S + _FLOOR * torch.finfo(S.dtype).eps * S[0]


def _top(S: Tensor) -> Tensor:
    return S[0].clamp_min(torch.finfo(S.dtype).tiny)


def _random(n: int, count: int, like: Tensor) -> Tensor:
    """[n, count] Gaussian, the same on every device."""
    generator = torch.Generator().manual_seed(_SEED)
    return torch.randn(n, count, generator=generator, dtype=torch.float64).to(like.dtype).to(like.device)


def _divided(rest: Tensor, S: Tensor, known_S: Tensor, known_Vh: Tensor) -> Tensor:
    """(R^T R - s^2)^-1 of each column, R being the rough matrix by its known triplets and nothing besides."""
    squares = S.square()
    inside = known_Vh @ rest
    gaps = known_S.square()[:, None] - squares
    least = (_CLOSE * squares).clamp_min(torch.finfo(S.dtype).tiny)
    gaps = torch.where(gaps.abs() < least, torch.where(gaps < 0, -least, least), gaps)
    found = known_Vh.mT @ (inside / gaps) - (rest - known_Vh.mT @ inside) / squares.clamp_min(torch.finfo(S.dtype).tiny)
    sizes: Tensor = found.norm(dim=0)
    return found / sizes.clamp_min(torch.finfo(S.dtype).tiny)


def _beside(basis: Tensor, more: Tensor) -> Tensor:
    """Orthonormal columns, orthogonal to the basis, that with it span ``more``."""
    for _ in range(2):
        more = qr(more - basis @ (basis.mT @ more))[0]
    return more


def _squared_norm(
    rough: Tensor, probes: Tensor, probed: Tensor, U: Tensor, S: Tensor, V: Tensor
) -> tuple[float, float]:
    """(||J||_F^2, its error): what the triplets hold is known; of the rest, the rough matrix's and the difference.

    That difference is the mean of ||J g||^2 - ||R g||^2 over Gaussian g orthogonal to the triplets.
    """
    inside = V.mT @ probes
    beside = probes - V @ inside
    true = (probed - U @ (S[:, None] * inside)).square().sum(0)
    differences = true - (rough @ beside).square().sum(0)
    rest = rough.square().sum() - (rough @ V).square().sum()
    squared = S.square().sum() + rest + differences.mean()
    error = _T_QUANTILE * differences.std() / math.sqrt(len(differences)) if len(differences) > 1 else true.sum()
    return float(squared), float(error)
