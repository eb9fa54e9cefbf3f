"""QR and singular value decompositions on whatever device: Apple's GPUs leave them to the CPU, and get the result back.

There torch has no kernel for them (before 2.13), or one whose workspace for a tall matrix is as wide as it is tall.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.dtypes import has_float64


def qr(matrix: Float[Tensor, "*batch m n"], mode: str = "reduced") -> tuple[Tensor, Tensor]:
    """(Q, R) of each matrix, as ``torch.linalg.qr`` gives them, on the matrix's device."""
    q, r = torch.linalg.qr(_able(matrix), mode=mode)
    return q.to(matrix.device), r.to(matrix.device)


def svd(matrix: Float[Tensor, "*batch m n"], *, full_matrices: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """(U, S, Vh) of each matrix, as ``torch.linalg.svd`` gives them, on the matrix's device."""
    U, S, Vh = torch.linalg.svd(_able(matrix), full_matrices=full_matrices)
    return U.to(matrix.device), S.to(matrix.device), Vh.to(matrix.device)


def spectral_norm(matrix: Float[Tensor, "*batch m n"]) -> Float[Tensor, "*batch"]:
    """The largest singular value of each matrix."""
    norm: Tensor = torch.linalg.matrix_norm(_able(matrix), ord=2)
    return norm.to(matrix.device)


def _able(matrix: Tensor) -> Tensor:
    """The matrix where it can be decomposed."""
    return matrix if has_float64(matrix.device) else matrix.cpu()
