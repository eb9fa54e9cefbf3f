"""How much of a result is rounding: the same prompt's contributions once more in float64, by replay alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name, has_float64, wide
from eqlin_core.errors import EqlinError
from eqlin_core.maps.copies import copied
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.maps.linearization import linearize
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress


@dataclass(frozen=True)
class PrecisionCheck:
    """A run's distance from the same run in float64, on the same weights.

    ``contributions``: the largest ||J_i x_i - (J_i x_i)_64|| over ||y_64||. ``output``: ||y - y_64|| / ||y_64||.
    ``same_token``: whether both predict the same next token. ``dtype``: of the run that was checked. ``device``: where
    that in float64 was.
    """

    contributions: float
    output: float
    same_token: bool
    dtype: str
    device: str = ""


@passes
def precision_check(lin: LinearMap, progress: Progress | None = None) -> PrecisionCheck:
    """Compare this run with one in float64: a copy of the model, one recording and one batch of replays, no matrix.

    The copy stands where the model does, or on the CPU where that has no float64 or is several devices. Only for a map
    from the embeddings to the output. Raises EqlinError when the float64 copy does not fit in memory.
    """
    checked_map(lin)
    arguments.called("progress", progress)
    if lin.network.source != "embedding" or lin.network.target != "output":
        raise EqlinError("The float64 check is for a map from the embeddings to the output.")
    model, device = lin.lm.model, lin.lm.device
    spread = len({p.device for p in model.parameters()}) > 1
    if spread or not has_float64(device):
        device = torch.device("cpu")
    lm = copied(lin.lm, torch.float64, device, "The float64 check", lin.n_tokens)
    exact = linearize(lm, token_ids=lin.token_ids, position=lin.position, **lin.convention.keywords)
    difference = wide(lin.contributions()).to(device) - exact.contributions(progress)
    size = exact.output.norm()
    return PrecisionCheck(
        contributions=float(difference.norm(dim=1).max() / size),
        output=float((wide(lin.output).to(device) - exact.output).norm() / size),
        same_token=_next(lin, lin.output) == _next(exact, exact.output),
        dtype=dtype_name(lin.inputs.dtype),
        device=str(device),
    )


def _next(lin: LinearMap, y: Tensor) -> int:
    with torch.no_grad():
        return int((lin.lm.unembedding @ y.to(lin.lm.unembedding)).argmax())
