"""A text that grows token by token, by the cache that its model keeps of what it has read, or read again each time."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eqlin_core.dtypes import wide
from eqlin_core.errors import out_of_memory
from eqlin_core.models.experts import fitting_experts
from eqlin_core.models.language_model import LanguageModel

_CACHES = ("past_key_values", "cache_params")
_PROBE = (5, 2, 7, 3, 6)
# Between a pass that goes on from a cache and one over the whole text; half precision rounds them apart.
_ALIKE = 0.05
_known: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()


def cache_name(lm: LanguageModel) -> str | None:
    """What the model calls the cache that it can go on from; None where it has none, or one that changes its answer.

    It is asked once, with a text of five tokens.
    """
    if lm.model not in _known:
        _known[lm.model] = _probed(lm)
    return _known[lm.model]


@torch.no_grad()
def _probed(lm: LanguageModel) -> str | None:
    ids = torch.tensor([[i % lm.vocab_size for i in _PROBE]], device=lm.device)
    try:
        with fitting_experts(lm.model, lm.dtype):
            whole = wide(lm.model(input_ids=ids, use_cache=False).logits[0, -1])
            first = lm.model(input_ids=ids[:, :-1], use_cache=True)
            name = next((name for name in _CACHES if getattr(first, name, None) is not None), None)
            if name is None:
                return None
            cache = {name: getattr(first, name)}
            last = wide(lm.model(input_ids=ids[:, -1:], use_cache=True, **cache).logits[0, -1])
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if out_of_memory(error):
            raise
        return None  # its cache has a shape of its own
    return name if bool((last - whole).norm() <= _ALIKE * whole.norm()) else None


class GrowingText:
    """``rows`` continuations of one prompt; ``ids`` [rows, tokens] are what they are so far."""

    def __init__(self, lm: LanguageModel, prompt: Sequence[int], rows: int) -> None:
        self.ids: Int[Tensor, "rows tokens"] = torch.tensor([list(prompt)], device=lm.device).expand(rows, -1)
        self._lm, self._name = lm, cache_name(lm)
        self._cache: Any = None

    @property
    def reads_again(self) -> bool:
        """Whether every pass reads the whole text."""
        return self._name is None

    @property
    def feed(self) -> Int[Tensor, "rows new"]:
        """The tokens that the next pass reads."""
        return self.ids if self._cache is None else self.ids[:, -1:]

    def logits(self) -> Float[Tensor, "rows vocab"]:
        """Of the next token of every row."""
        cache = {} if self._name is None or self._cache is None else {self._name: self._cache}
        out = self._lm.model(input_ids=self.feed, use_cache=self._name is not None, logits_to_keep=1, **cache)
        if self._name is not None:
            self._cache = getattr(out, self._name)
        found: Tensor = out.logits[:, -1]
        return found

    def add(self, tokens: Int[Tensor, " rows"]) -> None:
        """Each row goes on with this token."""
        self.ids = torch.cat([self.ids, tokens[:, None]], dim=1)
