"""Singular triplets in the run's precision from a matrix in a lower one, which a GPU computes many times faster."""

from __future__ import annotations

import torch
from torch import Tensor

from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.linalg.refinement import refined_triplets
from eqlin_core.linalg.signs import signed
from eqlin_core.maps.copies import copied
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.maps.linearization import linearize
from eqlin_core.maps.token_map import TokenMap
from eqlin_core.progress import Progress, part, report
from eqlin_core.resources.device_time import wait
from eqlin_core.resources.plan import ROUGH_DTYPE
from eqlin_core.spectra.result import RefinedSpectrum

_MATRIX_PART = 0.5  # of the time that is told


def refined_spectrum(lin: LinearMap, k: int, progress: Progress | None) -> RefinedSpectrum:
    """The k largest triplets of each J_i, from the matrix of a copy of the model in the next lower precision.

    Raises EqlinError for a run in half precision, and for a model that is spread, quantised or too big to be copied.
    """
    dtype = lin.inputs.dtype
    if dtype not in ROUGH_DTYPE:
        raise InvalidValue(
            f"method='refined' begins with a matrix of lower precision, and this run is in {dtype_name(dtype)}."
        )
    rough = _rough_matrix(lin, ROUGH_DTYPE[dtype], part(progress, 0.0, _MATRIX_PART))
    parts = []
    for token, matrix in enumerate(rough):
        alone = TokenMap(lin, token)
        parts.append(refined_triplets(alone.apply, alone.adjoint, matrix.to(lin.inputs), k))
        wait(lin.inputs.device)
        report(progress, _MATRIX_PART + (1 - _MATRIX_PART) * (token + 1) / len(rough), "Spectra")
    U, S, Vh = (torch.stack([getattr(found, name) for found in parts]) for name in ("U", "S", "Vh"))
    U, Vh = signed(U, Vh, lin.output)
    squared, error = (S.new_tensor([getattr(p, name) for p in parts]) for name in ("squared", "squared_error"))
    largest = S[:, 0].square()
    there = largest > 0
    return RefinedSpectrum(
        U,
        S,
        Vh,
        stable_rank=torch.where(there, squared / largest, 0.0),
        residuals=torch.stack([found.residuals for found in parts]),
        stable_rank_error=torch.where(there, error / largest, 0.0),
        passes=sum(found.passes for found in parts),
        matrix_dtype=dtype_name(ROUGH_DTYPE[dtype]),
    )


def _rough_matrix(lin: LinearMap, dtype: torch.dtype, progress: Progress | None) -> Tensor:
    if len({p.device for p in lin.lm.model.parameters()}) > 1:
        raise EqlinError("method='refined' is for a model on one device: leave it out.")
    lm = copied(lin.lm, dtype, lin.lm.device, "method='refined'", lin.n_tokens)
    network = lin.network
    return linearize(
        lm,
        token_ids=lin.token_ids,
        source=network.source,
        target=network.target,
        final_norm=network.ends.final_norm,
        position=lin.position,
        memory_budget=lin.memory_budget,
        **lin.convention.keywords,
    ).jacobian(progress)
