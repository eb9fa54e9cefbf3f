"""A model once more in another precision, with its weights as they are now."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import EqlinError
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.resources import budget


def copied(lm: LanguageModel, dtype: torch.dtype, device: torch.device, what: str, tokens: int) -> LanguageModel:
    """``lm`` with a copy of its model in ``dtype`` on one device, where its weights are copied at once.

    Raises EqlinError, which calls it ``what`` ("The float64 check") of so many tokens, for weights that are quantised
    or on the disk, and where the copy does not fit in memory.
    """
    model: Any = lm.model
    if any(p.is_meta for p in model.parameters()) or getattr(model, "is_quantized", False):
        raise EqlinError(f"{what} copies the weights, so it needs them unquantised, and none on the disk.")
    size = dtype.itemsize * sum(p.numel() for p in model.parameters())
    budget.require(size, device, f"The {dtype_name(dtype)} copy", tokens)

    def there(tensor: Tensor) -> Tensor:
        return tensor.detach().to(device, dtype if tensor.is_floating_point() else None, copy=True)

    memo: dict[int, Any] = {id(p): nn.Parameter(there(p), requires_grad=p.requires_grad) for p in model.parameters()}
    memo |= {id(b): there(b) for b in model.buffers()}
    made = copy.deepcopy(model, memo)
    if any(hasattr(module, "_hf_hook") for module in model.modules()):  # which bring values to other devices
        from accelerate.hooks import remove_hook_from_submodules  # noqa: PLC0415

        remove_hook_from_submodules(made)
    return replace(lm, model=made)
