"""Embeddings that stand for "no token": what a split is taken against, and what a deleted token is replaced by."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eqlin_core import arguments
from eqlin_core.dtypes import wide
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.prompts import token_tensor

ZERO, MEAN = "zero", "mean"
# Rows of the vocabulary that are embedded at a time.
_BLOCK = 8192
# By embedding module: the state of its weights, and their mean.
_MEANS: WeakKeyDictionary[nn.Module, tuple[int, Tensor]] = WeakKeyDictionary()


def baseline_embedding(lm: LanguageModel, baseline: str | int) -> Float[Tensor, " d"]:
    """The embedding that a baseline stands for, where the model's own embeddings stand and in their dtype.

    "zero"; "mean", the mean over the vocabulary; any other text, or a token id: the embedding of that one token.
    Raises EqlinError for a text that is not one token.
    """
    if isinstance(baseline, str) and baseline == ZERO:
        return torch.zeros_like(_embedded(lm, torch.zeros(1, dtype=torch.long))[0])
    if isinstance(baseline, str) and baseline == MEAN:
        return mean_embedding(lm)
    return _embedded(lm, torch.tensor([token_id(lm, baseline)]))[0]


@torch.no_grad()
def mean_embedding(lm: LanguageModel) -> Float[Tensor, " d"]:
    """The mean of all tokens' input embeddings, with the factor by which some models scale them."""
    module = lm.model.get_input_embeddings()
    state = 0 if module.weight.is_inference() else module.weight._version
    known = _MEANS.get(module)
    if known is None or known[0] != state:
        total: Tensor | None = None
        rows = int(lm.input_embeddings.shape[0])
        for start in range(0, rows, _BLOCK):
            part = wide(_embedded(lm, torch.arange(start, min(rows, start + _BLOCK)))).sum(0)
            total = part if total is None else total + part
        assert total is not None
        mean = (total / rows).to(_embedded(lm, torch.zeros(1, dtype=torch.long)))
        _MEANS[module] = known = state, mean
    return known[1]


def token_id(lm: LanguageModel, token: str | int) -> int:
    """The id of one token, from its text or checked. Raises EqlinError for what is not one token of this model."""
    if not isinstance(token, str):
        found = arguments.whole("A token, unless it is a text,", token)
        size = lm.input_embeddings.shape[0]
        if not 0 <= found < size:
            raise InvalidValue(f"Token id {arguments.shown(found)} is outside this model's vocabulary of {size}.")
        return found
    arguments.text("A token", token)
    if lm.tokenizer is None:
        raise EqlinError(f"{lm.name} has no tokenizer: name a token by its id.")
    ids = lm.tokenizer(token, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise InvalidValue(
            f"{arguments.shown(token)} is not a single token of {lm.name}: name one token, such as the start of a word."
        )
    return int(ids[0])


def begin_token(lm: LanguageModel) -> int | None:
    """The id of the model's begin-of-text token, None where it has none."""
    found = getattr(lm.tokenizer, "bos_token_id", None)
    found = getattr(lm.text_config, "bos_token_id", None) if found is None else found
    if isinstance(found, list | tuple):
        found = found[0] if found else None
    return int(found) if found is not None and 0 <= int(found) < lm.input_embeddings.shape[0] else None


def with_begin(lm: LanguageModel, ids: list[int]) -> list[int]:
    """The prompt with the begin-of-text token before it, unless it is there. Raises EqlinError where there is none."""
    begin = begin_token(lm)
    if begin is None:
        raise EqlinError(f"{lm.name} has no begin-of-text token: leave the prompt as it is.")
    return ids if ids and ids[0] == begin else [begin, *ids]


@torch.no_grad()
def _embedded(lm: LanguageModel, ids: Tensor) -> Float[Tensor, "n d"]:
    return lm.model.get_input_embeddings()(token_tensor(lm, ids.tolist()))
