"""What a model reads of the prompt beside its embeddings: token ids, which are known and the same for every replay."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


class PromptInputs:
    """The token ids of one prompt, for the parts of a decoder that ask for them although it is given embeddings.

    Embeddings of their own that some models add in every layer are looked up once; modules that choose by token id
    (hashed experts) get the ids.
    """

    def __init__(self, decoder: nn.Module, ids: Sequence[int], device: torch.device) -> None:
        self._ids = torch.tensor([list(ids)], device=device) if len(ids) else None
        self._asking = [
            module
            for module in decoder.modules()
            if self._ids is not None and module is not decoder and "input_ids" in _parameters(module)
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

    def arguments(self, rows: int) -> dict[str, Tensor]:
        """What the decoder is called with beside embeddings, for a batch of so many."""
        if self._per_layer is None:
            return {}
        return {"per_layer_inputs": self._per_layer.expand(rows, *self._per_layer.shape[1:])}

    def hook(self, add: Callable[..., None]) -> None:
        """Give the ids to the modules that ask for them."""
        for module in self._asking:
            add(module.register_forward_pre_hook, self._with_ids)

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
