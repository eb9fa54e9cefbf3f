"""How much of a result is rounding: the same prompt's contributions once more in float64, by replay alone."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import EqlinError
from eqlin_core.maps.linear_map import LinearMap, checked_map, linearize
from eqlin_core.progress import Progress
from eqlin_core.resources import budget


@dataclass(frozen=True)
class PrecisionCheck:
    """A run's distance from the same run in float64, on the same weights.

    ``contributions``: the largest ||J_i x_i - (J_i x_i)_64|| over ||y_64||. ``output``: ||y - y_64|| / ||y_64||.
    ``same_token``: whether both predict the same next token. ``dtype``: of the run that was checked.
    """

    contributions: float
    output: float
    same_token: bool
    dtype: str


def precision_check(lin: LinearMap, progress: Progress | None = None) -> PrecisionCheck:
    """Compare this run with one in float64: a copy of the model, one recording and one batch of replays, no matrix.

    Only for a map from the embeddings to the output. Raises EqlinError when the float64 copy does not fit in memory.
    """
    checked_map(lin)
    arguments.called("progress", progress)
    if lin.network.source != "embedding" or lin.network.target != "output":
        raise EqlinError("The float64 check is for a map from the embeddings to the output.")
    model, device = lin.lm.model, lin.lm.device
    if any(p.is_meta for p in model.parameters()) or getattr(model, "is_quantized", False):
        raise EqlinError("The float64 check copies the weights, so it needs them unquantised on one device.")
    budget.require(8 * sum(p.numel() for p in model.parameters()), device, "The float64 copy", lin.n_tokens)
    wide = replace(lin.lm, model=copy.deepcopy(model).double())
    exact = linearize(wide, token_ids=lin.token_ids, position=lin.position, **lin.convention.keywords)
    difference = lin.contributions().double() - exact.contributions(progress)
    size = exact.output.norm()
    return PrecisionCheck(
        contributions=float(difference.norm(dim=1).max() / size),
        output=float((lin.output.double() - exact.output).norm() / size),
        same_token=_next(lin, lin.output) == _next(exact, exact.output),
        dtype=dtype_name(lin.inputs.dtype),
    )


def _next(lin: LinearMap, y: Tensor) -> int:
    with torch.no_grad():
        return int((lin.lm.unembedding @ y.to(lin.lm.unembedding.dtype)).argmax())
