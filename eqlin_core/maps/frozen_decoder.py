"""A frozen decoder, or one sentence on why a model has none: its code fails, or its tokens read the later ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from eqlin_core.dtypes import wide
from eqlin_core.errors import EqlinError
from eqlin_core.freezing.network import FrozenNetwork
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.fields import require_own_prompt
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.prompts import token_tensor

# Decoders whose prompt reads all of itself: only what comes after it is generated from left to right.
_PREFIX = {"CpmAntForCausalLM"}


def frozen_decoder(lm: LanguageModel, embeddings: Tensor, *, ids: Sequence[int], **options: Any) -> FrozenNetwork:
    """The network frozen at a prompt of these ids; ``options`` are those of `FrozenNetwork`.

    Raises EqlinError with the model's own words where its code fails, for an encoder, and for a model without
    derivatives.
    """
    require_own_prompt(lm.config)
    if any(p.is_inference() for p in lm.model.parameters()):
        raise EqlinError("The model was loaded in torch.inference_mode(), where no derivatives exist: load it outside.")
    try:
        network = FrozenNetwork(lm, embeddings, ids=ids, **options)
    except (torch.OutOfMemoryError, EqlinError):
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise EqlinError(f"{type(lm.model).__name__} cannot be frozen: its own code fails ({said}).") from error
    if type(lm.model).__name__ in _PREFIX:
        return network
    if network.reads_later or ((network.mixes or network.leaks) and _answers_to_later(lm, ids)):
        raise EqlinError(f"{type(lm.model).__name__} is an encoder: its tokens read the later ones, so none is next.")
    return network


@torch.no_grad()
def _answers_to_later(lm: LanguageModel, ids: Sequence[int]) -> bool:
    """Whether the untouched model's first position changes with the last token."""
    if len(ids) < 2:
        return False
    other = [*ids[:-1], (ids[-1] + 1) % lm.vocab_size]
    with eager_experts(lm.model):
        first, second = (
            wide(lm.decoder(input_ids=token_tensor(lm, given)[None], use_cache=False).last_hidden_state[0, 0])
            for given in (ids, other)
        )
    return bool((first - second).norm() > 1e-3 * first.norm())
