"""How much of a result is rounding: the same prompt's contributions once more in float64, by replay alone."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name, has_float64, wide
from eqlin_core.errors import EqlinError
from eqlin_core.maps.linear_map import LinearMap, checked_map, linearize
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress
from eqlin_core.resources import budget


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
    if any(p.is_meta for p in model.parameters()) or getattr(model, "is_quantized", False):
        raise EqlinError("The float64 check copies the weights, so it needs them unquantised, and none on the disk.")
    spread = len({p.device for p in model.parameters()}) > 1
    if spread or not has_float64(device):
        device = torch.device("cpu")
    budget.require(8 * sum(p.numel() for p in model.parameters()), device, "The float64 copy", lin.n_tokens)
    copied = replace(lin.lm, model=_copied(model, device))
    exact = linearize(copied, token_ids=lin.token_ids, position=lin.position, **lin.convention.keywords)
    difference = wide(lin.contributions()).to(device) - exact.contributions(progress)
    size = exact.output.norm()
    return PrecisionCheck(
        contributions=float(difference.norm(dim=1).max() / size),
        output=float((wide(lin.output).to(device) - exact.output).norm() / size),
        same_token=_next(lin, lin.output) == _next(exact, exact.output),
        dtype=dtype_name(lin.inputs.dtype),
        device=str(device),
    )


def _copied(model: Any, device: torch.device) -> Any:
    """The model in float64 on one device; its weights are copied there at once."""

    def there(tensor: Tensor) -> Tensor:
        return tensor.detach().to(device, torch.float64 if tensor.is_floating_point() else None, copy=True)

    memo: dict[int, Any] = {id(p): nn.Parameter(there(p), requires_grad=p.requires_grad) for p in model.parameters()}
    memo |= {id(b): there(b) for b in model.buffers()}
    copied = copy.deepcopy(model, memo)
    if any(hasattr(module, "_hf_hook") for module in model.modules()):  # which bring values to other devices
        from accelerate.hooks import remove_hook_from_submodules  # noqa: PLC0415

        remove_hook_from_submodules(copied)
    return copied


def _next(lin: LinearMap, y: Tensor) -> int:
    with torch.no_grad():
        return int((lin.lm.unembedding @ y.to(lin.lm.unembedding)).argmax())
