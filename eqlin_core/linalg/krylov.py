"""The largest singular triplets of a matrix that is never formed: block Krylov iteration on its two operators.

Every block is orthogonalised against all that came before, twice (Musco & Musco 2015; without it singular values come
back more than once). A triplet counts as found when both equations J v = sigma u and J^T u = sigma v hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.dtypes import dtype_name
from eqlin_core.linalg.decompositions import qr, svd
from eqlin_core.progress import Progress, report
from eqlin_core.reprs import Facts, ShortRepr, span

_SPARE = 4  # vectors in a block beyond k unless it is given: a value that is repeated up to k times is found that often
_SEED = 0


@dataclass(frozen=True, repr=False)
class Triplets(ShortRepr):
    """The k largest singular triplets: U [m, k], S [k], Vh [k, n], and how well each satisfies its two equations.

    ``residuals`` [k, 2]: ||J v - sigma u|| and ||J^T u - sigma v||, over sigma_1. ``converged``: whether all are
    below the tolerance. ``passes``: how many forward and reverse passes of one vector it took.
    """

    U: Float[Tensor, "m k"]
    S: Float[Tensor, " k"]
    Vh: Float[Tensor, "k n"]
    residuals: Float[Tensor, "k 2"]
    converged: bool
    passes: int

    def _facts(self) -> Facts:
        yield "triplets", f"k={len(self.S)}"
        yield "singular values", f"σ {span(self.S.tolist())}"
        yield "largest residual", f"residual {float(self.residuals.max()):.1e}"
        yield "converged", "converged" if self.converged else "not converged"
        yield "passes", f"{self.passes} passes"
        yield "dtype", dtype_name(self.S.dtype)


def block_krylov(
    forward: Callable[[Tensor], Tensor],
    reverse: Callable[[Tensor], Tensor],
    like: Float[Tensor, " m"],
    k: int,
    tolerance: float,
    progress: Progress | None = None,
    *,
    block: int | None = None,
    most: int | None = None,
) -> Triplets:
    """The k largest triplets of the m x n map with ``forward`` [b, n] -> [b, m] and ``reverse`` [b, m] -> [b, n].

    ``like`` [m] gives the left side's width, dtype and device. The basis grows until every residual over sigma_1 is
    below ``tolerance`` or it spans the whole left side, where the result is exact. After ``most`` passes it ends as it
    is: ``converged`` says whether that is enough. ``block`` vectors go together, k + 4 unless given.
    """
    m = len(like)
    generator = torch.Generator().manual_seed(_SEED)

    def draw(rows: int) -> Tensor:
        return torch.randn(rows, m, generator=generator, dtype=torch.float64).to(like)

    basis = like.new_zeros(0, m)  # orthonormal rows on the left side
    width = min(m, k + _SPARE if block is None else block)
    rows, passes = _orthonormal(draw(width), basis, draw), 0
    images, twice = [], []  # reverse and then forward of the basis, block by block
    while True:
        report(progress, min(0.95, len(basis) / min(m, expected_passes(k, width) // 2)), "Largest singular triplets")
        images.append(reverse(rows))
        twice.append(forward(images[-1]))
        basis, passes = torch.cat([basis, rows]), passes + 2 * len(rows)
        # reverse(basis) = R^T Q^T, so the map on the basis is R^T, small: its triplets are those of the whole.
        q, r = qr(torch.cat(images).mT)
        u, S, vh = svd(r.mT)
        u, S, vh = u[:, :k], S[:k], vh[:k]
        U = u.mT @ basis
        # v = reverse(u) / sigma, so sigma forward(v) is known without another pass.
        left = (u.mT @ torch.cat(twice) - S[:, None] ** 2 * U).norm(dim=1)
        floor = _floor(S) * S[0]
        if len(basis) == m or (len(S) == k and bool((left <= tolerance * S[0] * S.maximum(floor)).all())):
            break
        if most is not None and passes + 2 * (len(rows) + k) > most and len(S) == k:
            break
        rows = _orthonormal(twice[-1][: m - len(basis)], basis, draw)
    Vh = vh @ q.mT
    left, right = forward(Vh) - S[:, None] * U, reverse(U) - S[:, None] * Vh
    residuals = torch.stack([left.norm(dim=1), right.norm(dim=1)], 1) / S[0].clamp_min(torch.finfo(S.dtype).tiny)
    report(progress, 1.0, "Largest singular triplets")
    converged = bool((residuals <= max(tolerance, _floor(S))).all())
    return Triplets(U.mT, S, Vh, residuals, converged, passes + 2 * len(S))


def expected_passes(k: int, block: int) -> int:
    """About how many passes k triplets take with so many vectors in a block, as measured on the default model."""
    return 2 * (4 * k + 3 * block) + 2 * k


def _orthonormal(rows: Tensor, basis: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
    """``rows`` made orthonormal and orthogonal to ``basis``; what lies in its span is replaced by random directions."""
    sizes = rows.norm(dim=1, keepdim=True)
    spent = sizes[:, 0] <= torch.finfo(rows.dtype).tiny
    rows = torch.where(spent[:, None], draw(len(rows)), rows / sizes.clamp_min(torch.finfo(rows.dtype).tiny))
    for _ in range(3):
        rest = rows - (rows @ basis.mT) @ basis
        q, r = qr(rest.mT)
        # A row that is (nearly) spanned already leaves only rounding noise: a fresh direction takes its place.
        lost = r.diagonal().abs() <= 1e3 * torch.finfo(rows.dtype).eps
        rows = q.mT
        if lost.any():
            rows = torch.where(lost[:, None], draw(len(rows)), rows)
            rows = rows / rows.norm(dim=1, keepdim=True)
    rest = rows - (rows @ basis.mT) @ basis
    columns: Tensor = qr(rest.mT)[0]
    return columns.mT


def _floor(S: Tensor) -> float:
    return 100 * torch.finfo(S.dtype).eps
