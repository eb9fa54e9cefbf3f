"""What stands between the last residual stream and the unembedding: the model's own final norm, live or held."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import EqlinError
from eqlin_core.freezing.norms import final_norm_rule
from eqlin_core.layers.blocks import FinalNorm
from eqlin_core.maps.relative_error import relative_error
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.prompts import CheckedIds, prompt_ids
from eqlin_core.models.sites import find_final_norm, find_layers
from eqlin_core.runs.exactness import bounds_of


def checked_place(lm: LanguageModel, prompt: Any, token_ids: Any, position: Any) -> tuple[CheckedIds, int]:
    """(the checked ids, the place among them from 0 on)."""
    ids = prompt_ids(lm, prompt, token_ids)
    return ids, arguments.position("position", position, len(ids), f"the prompt has {len(ids)} tokens") % len(ids)


@torch.no_grad()
def final_norm_of(lm: LanguageModel, h: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The model's own final norm of vectors of the residual stream."""
    norm = find_final_norm(lm.decoder, find_layers(lm.decoder, lm.n_layers))
    return norm(h[None])[0]


def require_final_norm(lm: LanguageModel, h: Float[Tensor, " d"], output: Float[Tensor, " d"]) -> None:
    """Raise EqlinError unless the model's output embedding is its final norm of this last residual stream."""
    if h.shape == output.shape:
        error = relative_error(final_norm_of(lm, h[None])[0], output.to(h.device))
        if error <= bounds_of(dtype_name(h.dtype))[1]:
            return
    raise EqlinError(
        f"{type(lm.model).__name__} does more than its final norm between its last block and its output, so earlier "
        "layers cannot be read as that."
    )


def norm_held_at(lm: LanguageModel, h: Float[Tensor, " d"]) -> FinalNorm:
    """The final norm with its denominator held at one value of the last residual stream."""
    module = find_final_norm(lm.decoder, find_layers(lm.decoder, lm.n_layers))
    rule = final_norm_rule(module, h[None, None])
    if rule is None:
        raise EqlinError(f"The final norm, {type(module).__name__}, cannot be frozen, so no direction goes through it.")
    return FinalNorm(rule, rule.coefficient(h))
