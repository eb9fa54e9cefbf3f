"""Attention with frozen weights, through the public attention interface of transformers.

``softmax(q k)`` is recorded once per attention module; afterwards the module only mixes value rows with those weights,
so queries, keys, rotary embeddings, QK-norms, masks, soft-capping and sinks are all part of the frozen coefficient.
Where a share of attention goes by its weights, queries and keys have a linear path as well (``live_weights``).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eqlin_core.errors import EqlinError
from eqlin_core.freezing.live_weights import Scores

IMPLEMENTATION = "eqlin_frozen"


@runtime_checkable
class AttentionWeights(Protocol):
    """Who keeps the recorded weights: one object for each frozen network."""

    replaying: bool

    def mixed(self, module: nn.Module, scores: Scores, value: Tensor) -> Tensor:
        """``value`` mixed by the weights of this call: computed and kept while recording, looked up while replaying."""

    def paused(self) -> AbstractContextManager[None]:
        """Within the context what is computed is the engine's own arithmetic, no part of the network."""


_owners: WeakKeyDictionary[nn.Module, AttentionWeights] = WeakKeyDictionary()
_thread = threading.local()


@contextmanager
def frozen_attention(model: Any, owner: AttentionWeights, *, held: bool = True) -> Iterator[None]:
    """Within the context every attention module of ``model`` asks ``owner`` for its weights.

    Where weights are not ``held`` the model computes its stock attention, which can be differentiated. The model's own
    attention implementation is back when the context ends. Raises EqlinError for a model whose attention does not go
    through the attention interface.
    """
    _register()
    before = _implementations(model)
    wanted = IMPLEMENTATION if held else "eager"
    modules = list(model.modules())
    try:
        model.set_attn_implementation(wanted)
        if any(c._attn_implementation != wanted for c in _configs(model)):
            raise EqlinError(
                f"{type(model).__name__} does not use the attention interface of transformers, so its attention "
                "weights cannot be frozen; choose a model whose attention is supported by it."
            )
        for module in modules if held else ():
            _owners[module] = owner
        _thread.replaying = owner.replaying and held
        yield
    finally:
        _thread.replaying = False
        for module in modules:
            _owners.pop(module, None)
        model.set_attn_implementation(before)


def mix(
    weights: Float[Tensor, "1 heads queries keys"], value: Float[Tensor, "batch kv keys e"]
) -> Float[Tensor, "batch queries heads e"]:
    """Value rows mixed by one set of weights for the whole batch; heads that share a value head are read together.

    The batch is folded into the columns of one matrix product per value head, so a batch costs no small products.
    """
    batch, kv, keys, e = value.shape
    _, heads, queries, _ = weights.shape
    group = heads // kv
    rows = value.permute(1, 2, 0, 3).reshape(kv, keys, batch * e)
    mixed = torch.bmm(weights[0].to(value.dtype).reshape(kv, group * queries, keys), rows)  # kv, group*q, batch*e
    mixed = mixed.view(kv, group, queries, batch, e).permute(3, 2, 0, 1, 4)  # batch, q, kv, group, e
    return mixed.reshape(batch, queries, heads, e).contiguous()  # stock code may take views of it


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The attention function that the interface calls; positions come before heads in what it returns."""
    scores = Scores(query, key, attention_mask, scaling, softcap, s_aux)
    owner = _owners.get(module)
    if owner is None:  # a model that shares its config with the frozen one: serve it, keep nothing
        weights = scores.weights().to(value.dtype)
        return (weights @ value.repeat_interleave(query.shape[1] // value.shape[1], 1)).transpose(1, 2), None
    with owner.paused():
        return owner.mixed(module, scores, value), None


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    from transformers.masking_utils import eager_mask  # noqa: PLC0415 - transformers is slow to import

    return None if getattr(_thread, "replaying", False) else eager_mask(*args, **kwargs)


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface  # noqa: PLC0415

    AttentionInterface.register(IMPLEMENTATION, _attention)
    AttentionMaskInterface.register(IMPLEMENTATION, _mask)


def _configs(model: Any) -> list[Any]:
    """The configs whose decoders run: the text part of a multimodal model, or the model's own."""
    return [model.config.get_text_config(decoder=True)]


def _implementations(model: Any) -> dict[str, Any]:
    config = model.config
    nested = {k: getattr(config, k)._attn_implementation for k in config.sub_configs if getattr(config, k) is not None}
    return {"": config._attn_implementation, **{k: name for k, name in nested.items() if name is not None}}
