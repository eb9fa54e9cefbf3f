"""The singular values and vectors of the tokens' matrices, one by one or of all together."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import coefficient_dtype
from eqlin_core.errors import InvalidValue
from eqlin_core.linalg.krylov import block_krylov
from eqlin_core.linalg.signs import signed
from eqlin_core.linalg.truncated_svd import stable_rank, truncated_svd
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, part, report
from eqlin_core.resources import budget
from eqlin_core.resources.device_time import wait
from eqlin_core.resources.plan import METHODS
from eqlin_core.spectra.refined import refined_spectrum
from eqlin_core.spectra.result import Spectrum

_JOINT = {torch.float64: 1e-9, torch.float32: 2e-5}


@passes
def spectrum(
    lin: LinearMap, k: int = 24, *, joint: bool = False, method: str = "direct", progress: Progress | None = None
) -> Spectrum:
    """The k largest singular triplets of each J_i, or with ``joint=True`` of [J_1 ... J_T] (Golden 2025, section 4.2).

    Computes the matrix first where that has not been done. ``method="refined"`` computes it in a lower precision,
    bfloat16 for float32 and float32 for float64, and refines the triplets by passes in the run's own until both
    equations of each hold: the result is a RefinedSpectrum, and the map still has no matrix. ``plan_run`` says which
    is cheaper. Raises EqlinError for k outside 1..d, and where there is no such copy of the model.
    """
    k = arguments.whole("k", k, 1, checked_map(lin).width, of="the model's width")
    joint = arguments.flag("joint", joint)
    method = arguments.choice("method", method, METHODS)
    arguments.called("progress", progress)
    if method == "refined":
        if joint:
            raise InvalidValue("method='refined' is for the tokens' own matrices: top_triplets needs none for all.")
        return refined_spectrum(lin, k, progress)
    matrix_part = 0.9  # the decomposition takes about a tenth of the matrix's time
    matrix = lin.jacobian(part(progress, 0.0, matrix_part))
    if joint:
        return _joint(lin, matrix, k)
    device, size = lin.inputs.device, matrix[0].numel() * max(4, matrix.element_size())
    chunk = budget.chunk_size(20 * size, 1, device, lin.memory_budget)
    parts: list[Spectrum] = []

    def decompose(start: int, stop: int) -> None:
        here = matrix[start:stop].to(device)
        U, S, Vh = truncated_svd(here, k)
        U, Vh = signed(U, Vh, lin.output)
        parts.append(Spectrum(U, S, Vh, stable_rank(here, S[:, 0])))
        wait(device)
        report(progress, matrix_part + (1 - matrix_part) * stop / len(matrix), "Spectra")

    budget.in_chunks(len(matrix), chunk, decompose)
    U, S, Vh, rank = (torch.cat([getattr(p, name) for p in parts]) for name in ("U", "S", "Vh", "stable_rank"))
    return Spectrum(U, S, Vh, rank)


def _joint(lin: LinearMap, matrix: Float[Tensor, "tokens d_out d_in"], k: int) -> Spectrum:
    """The joint triplets of a matrix that stays where it is: each token's part is read twice in every step."""
    device = lin.inputs.device
    dtype = coefficient_dtype(matrix.dtype)

    def forward(rows: Tensor) -> Tensor:
        parts = rows.unflatten(1, (len(matrix), -1)).unbind(1)
        return sum((v @ J.to(device, dtype).mT for v, J in zip(parts, matrix, strict=True)), rows.new_zeros(1))

    def reverse(rows: Tensor) -> Tensor:
        return torch.cat([rows @ J.to(device, dtype) for J in matrix], 1)

    triplets = block_krylov(forward, reverse, lin.output.to(dtype), k, _JOINT[dtype])
    U, Vh = signed(triplets.U, triplets.Vh, lin.output)
    squared = torch.stack([J.to(dtype).square().sum() for J in matrix]).sum()
    rank = squared / triplets.S[0].square() if triplets.S[0] > 0 else squared
    return Spectrum(U, triplets.S, Vh, rank)
