"""A prompt as checked token ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.models.language_model import LanguageModel, checked_model


class CheckedIds(list[int]):
    """Token ids that one model was found to read: whoever gets them for it need not look again."""

    def __init__(self, ids: Iterable[int], lm: LanguageModel) -> None:
        super().__init__(ids)
        self.lm = lm


def prompt_ids(lm: LanguageModel, prompt: str | None, token_ids: Sequence[int] | None = None) -> CheckedIds:
    """The checked token ids of a prompt. Raises EqlinError when there are none, too many, or unknown ones."""
    if prompt is None and isinstance(token_ids, CheckedIds) and token_ids.lm is lm:
        return token_ids
    checked_model(lm)
    if (prompt is None) == (token_ids is None):
        raise InvalidValue("Give either a prompt or token_ids=[...], not both and not neither.")
    if prompt is not None and not arguments.text("prompt", prompt).strip():
        raise InvalidValue("The prompt is empty: type at least one word.")
    ids = _whole_numbers(token_ids) if token_ids is not None else lm.encode(prompt or "")
    if not ids:
        raise InvalidValue("The prompt has no tokens: type at least one word.")
    vocab = lm.input_embeddings.shape[0]
    unknown = [i for i in ids if not 0 <= i < vocab]
    if unknown:
        raise InvalidValue(
            f"Token id {arguments.shown(unknown[0])} is outside this model's vocabulary of {vocab} tokens."
        )
    limit = lm.max_positions
    if limit is not None and len(ids) > limit:
        raise EqlinError(f"The prompt has {len(ids)} tokens and this model reads at most {limit}; shorten it.")
    return CheckedIds(ids, lm)


def _whole_numbers(token_ids: Any) -> list[int]:
    if tuple(getattr(token_ids, "shape", ()))[:-1] == (1,):  # a batch of one, as tokenizers and generate() have it
        token_ids = token_ids[0]
    found = arguments.several("token_ids", token_ids, "a list of token ids")
    return [arguments.whole("A token id", i) for i in found]


def token_tensor(lm: LanguageModel, ids: Sequence[int]) -> Tensor:
    """The ids where the model expects them: an offloaded model, whose weights are on no device, moves them itself."""
    return torch.tensor(ids, device="cpu" if lm.device.type == "meta" else lm.device)
