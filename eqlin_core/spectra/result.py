"""What a decomposition of the tokens' matrices gives."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from eqlin_core.dtypes import dtype_name
from eqlin_core.reprs import Facts, ShortRepr, counted, span


@dataclass(frozen=True, repr=False)
class Spectrum(ShortRepr):
    """The k largest singular triplets of every token: J_i ~ U[i] diag(S[i]) Vh[i], signed so that u . y >= 0.

    Per token U [T, d, k], S [T, k], Vh [T, k, d], stable_rank [T]; of the joint matrix [J_1 ... J_T] U [d, k], S [k],
    Vh [k, T d] and one stable rank. ``stable_rank`` = ||J||_F^2 / sigma_1^2 with the exact Frobenius norm.
    """

    U: Float[Tensor, "*tokens d k"]
    S: Float[Tensor, "*tokens k"]
    Vh: Float[Tensor, "*tokens k columns"]
    stable_rank: Float[Tensor, "*tokens"]

    def _facts(self) -> Facts:
        yield "tokens", counted(len(self.S), "token") if self.S.dim() == 2 else "all tokens together"
        yield "triplets", f"k={self.S.shape[-1]}"
        yield "largest singular values", f"σ₁ {span(self.S[..., 0].flatten().tolist())}"
        yield "stable ranks", f"stable rank {span(self.stable_rank.flatten().tolist())}"
        yield "dtype", dtype_name(self.S.dtype)


@dataclass(frozen=True, repr=False)
class RefinedSpectrum(Spectrum):
    """A Spectrum from a matrix of lower precision, refined by passes in the run's own.

    ``residuals`` [T, k, 2]: ||J v - s u|| and ||J^T u - s v|| over sigma_1. The Frobenius norm in ``stable_rank`` is
    estimated from eight random directions: by Student's t, ``stable_rank_error`` [T] holds in 999 of 1000 cases.
    ``passes``: how many vectors went through one token's part of the network, forwards or in reverse.
    ``matrix_dtype``: of the matrix it began with.
    """

    residuals: Float[Tensor, "tokens k 2"]
    stable_rank_error: Float[Tensor, " tokens"]
    passes: int
    matrix_dtype: str

    def _facts(self) -> Facts:
        yield from super()._facts()
        yield "largest residual", f"residual {float(self.residuals.max()):.1e}"
        yield "refinement", f"refined from {self.matrix_dtype} by {self.passes} passes"
