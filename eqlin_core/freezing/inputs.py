"""What a model reads of the prompt beside its embeddings: token ids, which are known and the same for every replay."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from eqlin_core.errors import EqlinError
from eqlin_core.models.language_model import LanguageModel


class PromptInputs:
    """The token ids of one prompt, for the parts of a decoder that ask for them although it is given embeddings.

    Embeddings of their own that some models add in every layer are looked up once; modules that choose by token id
    (hashed experts) get the ids. ``by_ids`` is true of a decoder that takes nothing but ids, or cuts its prompt into
    patches by them: it is given the ids, and what its ``embedding`` returns for them is replaced. What such a model
    puts before the prompt or adds to its embeddings is a constant.
    The tokens of so many prompts ``together`` stand in turn; only for a decoder that is told positions.
    """

    def __init__(
        self,
        decoder: nn.Module,
        embedding: nn.Module,
        ids: Sequence[int],
        device: torch.device,
        together: int = 1,
    ) -> None:
        self._embedding, self._together = embedding, together
        if together > 1 and not {"inputs_embeds", "position_ids", "attention_mask"} <= set(_parameters(decoder)):
            raise EqlinError(f"{type(decoder).__name__} is not told positions, so prompts cannot stand side by side.")
        patches = getattr(decoder, "patcher", None) is not None
        self.by_ids = patches or "inputs_embeds" not in _parameters(decoder)
        self._ids = torch.tensor([list(ids)], device=device) if len(ids) else None
        self._asking = [
            module
            for module in decoder.modules()
            if self._ids is not None
            and module is not decoder
            and "input_ids" in _parameters(module)
            and not self.by_ids
            and "inputs_embeds" not in _parameters(module)
        ]
        self._per_layer = self._looked_up(decoder)

    @torch.no_grad()
    def _looked_up(self, decoder: nn.Module) -> Tensor | None:
        look_up = getattr(decoder, "get_per_layer_inputs", None)
        if self._ids is None or look_up is None or "per_layer_inputs" not in _parameters(decoder):
            return None
        if not getattr(decoder, "hidden_size_per_layer_input", 0):
            return None
        more = [None] * (len(inspect.signature(look_up).parameters) - 1)
        found: Tensor = look_up(self._ids, *more)
        return found.detach()

    def _arguments(self, embeddings: Tensor) -> dict[str, Tensor]:
        rows, n = embeddings.shape[:2]
        given = {}
        if self._per_layer is not None:
            given["per_layer_inputs"] = self._per_layer.expand(rows, *self._per_layer.shape[1:])
        if self._together > 1:
            assert self._ids is not None
            positions = torch.arange(self._ids.shape[1], device=embeddings.device) // self._together
            given["position_ids"] = positions[-n:].expand(rows, -1)
            given["attention_mask"] = torch.ones_like(given["position_ids"])
        return given

    @property
    def needs_ids(self) -> bool:
        """Whether the decoder gives another answer for embeddings alone than for the prompt that they are of."""
        choosing = [module for module in self._asking if not type(module).__name__.endswith("Embedding")]
        return self.by_ids or self._per_layer is not None or bool(choosing)

    def run(self, decoder: nn.Module, embeddings: Tensor) -> Tensor:
        """The decoder's hidden states for a batch of embedded prompts."""
        rows = len(embeddings)
        if self.by_ids:
            assert self._ids is not None
            self._given = embeddings
            out = decoder(input_ids=self._ids.expand(rows, -1), use_cache=False)
        else:  # a copy: stock code may change what it is given in place
            out = decoder(inputs_embeds=embeddings.clone(), use_cache=False, **self._arguments(embeddings))
        found: Tensor = out.last_hidden_state
        return found

    def hook(self, add: Callable[..., None]) -> None:
        """Give the ids to the modules that ask for them, and embeddings to a decoder that takes ids."""
        if self.by_ids:
            add(self._embedding.register_forward_hook, self._embedded)
        for module in self._asking:
            add(module.register_forward_pre_hook, self._with_ids)

    def _embedded(self, _module: nn.Module, args: Any, _kwargs: Any, out: Tensor) -> Tensor | None:
        """What is embedded, with the given embeddings in the place of the prompt's."""
        assert self._ids is not None
        ids, T = self._ids[0], self._ids.shape[1]
        looked_up = args[0][0].to(ids.dtype)
        starts = [s for s in (0, len(looked_up) - T) if s >= 0 and torch.equal(looked_up[s : s + T], ids)]
        if not starts:
            return None
        at = starts[-1]
        return torch.cat([out[:, :at], self._given, out[:, at + T :]], dim=1)

    def _with_ids(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        place = list(_parameters(module)).index("input_ids")
        given = args[place] if place < len(args) else kwargs.get("input_ids")
        if given is not None:
            return None
        assert self._ids is not None
        hidden = args[0] if args else next((value for value in kwargs.values() if isinstance(value, Tensor)), None)
        if not isinstance(hidden, Tensor):  # it asks for positions
            return None
        ids = self._ids.expand(max(1, hidden.shape[0]), -1)
        if place < len(args):
            return (*args[:place], ids, *args[place + 1 :]), kwargs
        return args, {**kwargs, "input_ids": ids}


def _parameters(module: nn.Module) -> list[str]:
    """The names of what the module's forward pass takes."""
    kind: Any = type(module)
    return _of_class(kind)


@cache
def _of_class(kind: Any) -> list[str]:
    return list(inspect.signature(kind.forward).parameters)[1:]


def require_embeddings(lm: LanguageModel) -> None:
    """Raise EqlinError for a model that reads token ids beside embeddings: other embeddings are no prompt of it."""
    if PromptInputs(lm.decoder, lm.model.get_input_embeddings(), [0], lm.device).needs_ids:
        raise EqlinError(
            f"{type(lm.model).__name__} reads token ids beside their embeddings, so what it does with other ones, or "
            "without a token, cannot be measured."
        )
