"""Truncated singular value decompositions of the tokens' matrices, verified and never only approximate.

Block Krylov iteration with full reorthogonalisation (Musco & Musco 2015) runs on all tokens in one batch; its residuals
and a fresh random probe of what it left over are checked, and a token that fails either is decomposed in full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import budget
from eqlin_core.errors import EqlinError
from eqlin_core.linear_map import LinearMap, report

# Measured: a product with 16 columns takes no longer than one with 8.
_BLOCK = 16
# A residual of this size leaves an error of about its square in the singular value.
_RESIDUAL = {torch.float64: 1e-7, torch.float32: 2e-4}


@dataclass(frozen=True)
class Spectrum:
    """The k largest singular triplets of every token: J_i ~ U[i] diag(S[i]) Vh[i], signed so that u . y >= 0.

    Per token U [T, d, k], S [T, k], Vh [T, k, d], stable_rank [T]; of the joint matrix [J_1 ... J_T] U [d, k], S [k],
    Vh [k, T d] and one stable rank. ``stable_rank`` = ||J||_F^2 / sigma_1^2 with the exact Frobenius norm.
    """

    U: Float[Tensor, "*tokens d k"]
    S: Float[Tensor, "*tokens k"]
    Vh: Float[Tensor, "*tokens k columns"]
    stable_rank: Float[Tensor, "*tokens"]


def spectrum(
    lin: LinearMap, k: int = 24, *, joint: bool = False, progress: Callable[[float, str], Any] | None = None
) -> Spectrum:
    """The k largest singular triplets of each J_i, or with ``joint=True`` of [J_1 ... J_T] (Golden 2025, section 4.2).

    Computes the matrix first where that has not been done. Raises EqlinError for k outside 1..d.
    """
    if not 1 <= k <= lin.width:
        raise EqlinError(f"k is between 1 and the width {lin.width}, not {k}.")
    matrix_part = 0.9  # the decomposition takes about a tenth of the matrix's time

    def matrix_progress(fraction: float, message: str) -> Any:
        return progress(matrix_part * fraction, message) if progress else None

    matrix = lin.jacobian(matrix_progress)
    if joint:
        matrix = matrix.permute(1, 0, 2).reshape(1, matrix.shape[1], -1)
    rows = budget.chunk_size(20 * matrix[0].numel() * matrix.element_size(), 1, matrix.device, lin.memory_budget)
    parts = []
    for start in range(0, len(matrix), rows):
        parts.append(truncated_svd(matrix[start : start + rows], k))
        report(progress, matrix_part + (1 - matrix_part) * min(1.0, (start + rows) / len(matrix)), "Spectra")
    U, S, Vh = (torch.cat(p) for p in zip(*parts, strict=True))
    sign = torch.where(torch.einsum("tdk,d->tk", U, lin.output.to(U)) < 0, -1.0, 1.0).to(U)
    U, Vh = U * sign[:, None, :], Vh * sign[:, :, None]
    result = Spectrum(U, S, Vh, stable_rank(matrix, S[:, 0]))
    return Spectrum(U[0], S[0], Vh[0], result.stable_rank[0]) if joint else result


def stable_rank(
    matrix: Float[Tensor, "tokens d_out d_in"], sigma_1: Float[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """||J||_F^2 / sigma_1^2 of each matrix, from the exact Frobenius norm; 0 for a zero matrix."""
    squared = torch.stack([m.to(sigma_1).square().sum() for m in matrix])
    return torch.where(sigma_1 > 0, squared / sigma_1.square(), torch.zeros_like(squared))


def truncated_svd(
    matrix: Float[Tensor, "tokens m n"], k: int
) -> tuple[Float[Tensor, "tokens m k"], Float[Tensor, "tokens k"], Float[Tensor, "tokens k n"]]:
    """(U, S, Vh) of the k largest triplets of each matrix, in its dtype but at least float32."""
    if matrix.dtype not in _RESIDUAL:
        matrix = matrix.float()
    return _krylov_or_full(matrix, k, steps=max(6, -(-5 * k // _BLOCK)))


def _krylov_or_full(matrix: Tensor, k: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The verified result of so many steps; where that fails, of twice as many; in full once that is cheaper."""
    if (steps + 1) * _BLOCK * 2 > min(matrix.shape[1:]):
        return _full_svd(matrix, k)
    U, S, Vh = _block_krylov(matrix, k, steps)
    failed = ~_verified(matrix, U, S, Vh)
    if failed.any():
        U[failed], S[failed], Vh[failed] = _krylov_or_full(matrix[failed], k, 2 * steps)
    return U, S, Vh


def _full_svd(matrix: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return U[..., :k], S[..., :k], Vh[..., :k, :]


def _random_block(matrix: Tensor, seed: int) -> Tensor:
    """[tokens, n, block] of a fixed random draw, the same for every token and on every device."""
    draw = torch.randn(matrix.shape[2], _BLOCK, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draw.to(matrix).expand(len(matrix), -1, -1)


def _block_krylov(matrix: Tensor, k: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    tokens, m, _ = matrix.shape
    basis = matrix.new_zeros(tokens, m, steps * _BLOCK)
    block = torch.linalg.qr(matrix @ _random_block(matrix, 0))[0]
    basis[..., :_BLOCK] = block
    for step in range(1, steps):
        known = basis[..., : step * _BLOCK]
        block = matrix @ (matrix.mT @ block)
        # Orthogonalised before and after normalising: where the space is exhausted, rounding noise must not repeat it.
        for _ in range(2):
            block = torch.linalg.qr(block - known @ (known.mT @ block))[0]
        basis[..., step * _BLOCK : (step + 1) * _BLOCK] = block
    right, triangle = torch.linalg.qr(matrix.mT @ basis)  # n x s, s x s
    u, S, vh = torch.linalg.svd(triangle.mT)
    return basis @ u[..., :k], S[..., :k].contiguous(), (right @ vh[..., :k, :].mT).mT


def _verified(matrix: Tensor, U: Tensor, S: Tensor, Vh: Tensor) -> Tensor:
    """[tokens] True where all triplets satisfy both equations and nothing larger than sigma_k was left out."""
    tolerance = _RESIDUAL[matrix.dtype]
    top, last = S[:, :1].clamp_min(torch.finfo(S.dtype).tiny), S[:, -1]
    # J^T u = sigma v holds by construction, so J v = sigma u is the equation that can fail.
    residual = (matrix @ Vh.mT - U * S[:, None]).norm(dim=1)  # tokens x k
    converged = (residual <= tolerance * S + 32 * torch.finfo(S.dtype).eps * top).all(-1) & (S[:, 0] > 0)
    probe = _random_block(matrix, 1)
    for _ in range(3):
        left = matrix @ probe - U @ (S[:, :, None] * (Vh @ probe))
        right = matrix.mT @ left - Vh.mT @ (S[:, :, None] * (U.mT @ left))
        probe = torch.linalg.qr(right)[0]
    rest = torch.linalg.matrix_norm(matrix @ probe - U @ (S[:, :, None] * (Vh @ probe)), ord=2)
    return converged & (rest <= last * (1 + 1e-3 * tolerance) + 32 * torch.finfo(S.dtype).eps * top[:, 0])
