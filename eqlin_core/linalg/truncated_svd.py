"""Truncated singular value decompositions of a stack of matrices, verified and never only approximate.

Block Krylov iteration with full reorthogonalisation (Musco & Musco 2015) runs on all in one batch; its residuals
and a fresh random probe of what it left over are checked, and a matrix that fails either is decomposed in full.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.linalg.decompositions import qr, spectral_norm, svd

_PROBES = 8
# Width of a block, fewest steps, and vectors of the basis for each triplet wanted: float64 converges further.
_KRYLOV = {torch.float64: (12, 12, 6), torch.float32: (16, 6, 5)}
# A residual of this size leaves an error of about its square in the singular value.
_RESIDUAL = {torch.float64: 1e-7, torch.float32: 2e-4}


def truncated_svd(
    matrix: Float[Tensor, "tokens m n"], k: int
) -> tuple[Float[Tensor, "tokens m k"], Float[Tensor, "tokens k"], Float[Tensor, "tokens k n"]]:
    """(U, S, Vh) of the k largest triplets of each matrix, in its dtype but at least float32."""
    if matrix.dtype not in _RESIDUAL:
        matrix = matrix.float()
    width, fewest, basis = _KRYLOV[matrix.dtype]
    return _krylov_or_full(matrix, k, width, max(fewest, -(-basis * k // width)))


def stable_rank(
    matrix: Float[Tensor, "tokens d_out d_in"], sigma_1: Float[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """||J||_F^2 / sigma_1^2 of each matrix, from the exact Frobenius norm; 0 for a zero matrix."""
    squared = torch.stack([m.to(sigma_1).square().sum() for m in matrix])
    return torch.where(sigma_1 > 0, squared / sigma_1.square(), torch.zeros_like(squared))


def _krylov_or_full(matrix: Tensor, k: int, width: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The verified result of so many steps; where that fails, of twice as many; in full once that is cheaper."""
    if (steps + 1) * width * 2 > min(matrix.shape[1:]):
        return _full_svd(matrix, k)
    U, S, Vh = _block_krylov(matrix, k, width, steps)
    failed = ~_verified(matrix, U, S, Vh)
    if failed.any():
        U[failed], S[failed], Vh[failed] = _krylov_or_full(matrix[failed], k, width, 2 * steps)
    return U, S, Vh


def _full_svd(matrix: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    U, S, Vh = svd(matrix)
    return U[..., :k], S[..., :k], Vh[..., :k, :]


def _random_block(matrix: Tensor, width: int, seed: int) -> Tensor:
    """[tokens, n, width] of a fixed random draw, the same for every token and on every device."""
    draw = torch.randn(matrix.shape[2], width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draw.to(matrix).expand(len(matrix), -1, -1)


def _block_krylov(matrix: Tensor, k: int, width: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    tokens, m, _ = matrix.shape
    rows = matrix.new_zeros(tokens, steps * width, m)  # the basis, transposed: what is known so far lies together
    block = qr(matrix @ _random_block(matrix, width, 0))[0]
    rows[:, :width] = block.mT
    for step in range(1, steps):
        known = rows[:, : step * width]
        block = matrix @ (matrix.mT @ block)
        # Orthogonalised before and after normalising: where the space is exhausted, rounding noise must not repeat it.
        for _ in range(2):
            block = qr(block - known.mT @ (known @ block))[0]
        rows[:, step * width : (step + 1) * width] = block.mT
    right, triangle = qr((rows @ matrix).mT)  # n x s, s x s
    u, S, vh = svd(triangle.mT)
    return rows.mT @ u[..., :k], S[..., :k].contiguous(), (right @ vh[..., :k, :].mT).mT


def _verified(matrix: Tensor, U: Tensor, S: Tensor, Vh: Tensor) -> Tensor:
    """[tokens] True where all triplets satisfy both equations and nothing larger than sigma_k was left out."""
    tolerance = _RESIDUAL[matrix.dtype]
    top, last = S[:, :1].clamp_min(torch.finfo(S.dtype).tiny), S[:, -1]
    # J^T u = sigma v holds by construction, so J v = sigma u is the equation that can fail.
    residual = (matrix @ Vh.mT - U * S[:, None]).norm(dim=1)  # tokens x k
    converged = (residual <= tolerance * S + 32 * torch.finfo(S.dtype).eps * top).all(-1) & (S[:, 0] > 0)
    probe = _random_block(matrix, _PROBES, 1)
    for _ in range(3):
        left = matrix @ probe - U @ (S[:, :, None] * (Vh @ probe))
        right = matrix.mT @ left - Vh.mT @ (S[:, :, None] * (U.mT @ left))
        probe = qr(right)[0]
    rest = spectral_norm(matrix @ probe - U @ (S[:, :, None] * (Vh @ probe)))
    verified: Tensor = converged & (rest <= last * (1 + 1e-3 * tolerance) + 32 * torch.finfo(S.dtype).eps * top[:, 0])
    return verified
