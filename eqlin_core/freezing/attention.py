"""Attention with frozen weights, through the public attention interface of transformers.

``softmax(q k)`` is recorded once per attention module; afterwards the module only mixes value rows with those weights,
so queries, keys, rotary embeddings, QK-norms, masks, soft-capping and sinks are all part of the frozen coefficient.
Where a share of attention goes by its weights, queries and keys have a linear path as well (``live_weights``).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from eqlin_core.freezing.live_weights import Scores

IMPLEMENTATION = "eqlin_frozen"


class Masks:
    """The attention masks of one recorded pass, in order: stock code beside the interface may read them again.

    Of so many prompts ``together``, whose tokens stand in turn, a mask is that of one prompt for each of them alone.
    """

    def __init__(self, together: int = 1) -> None:
        self.together = together
        self.kept: list[Tensor | None] = []
        self.calls, self.replaying = 0, False

    def started(self, replaying: bool) -> Masks:
        """The same, as a new pass begins."""
        self.calls, self.replaying = 0, replaying
        return self


@runtime_checkable
class AttentionWeights(Protocol):
    """Who keeps the recorded weights: one object for each frozen network."""

    replaying: bool
    masks: Masks

    def mixed(self, module: nn.Module, scores: Scores, value: Tensor) -> Tensor:
        """``value`` mixed by the weights of this call: computed and kept while recording, looked up while replaying."""

    def paused(self) -> AbstractContextManager[None]:
        """Within the context what is computed is the engine's own arithmetic, no part of the network."""


_owners: WeakKeyDictionary[nn.Module, AttentionWeights] = WeakKeyDictionary()
_thread = threading.local()


@contextmanager
def frozen_attention(model: Any, owner: AttentionWeights, *, held: bool = True) -> Iterator[None]:
    """Within the context every attention module of ``model`` asks ``owner`` for its weights.

    Where weights are not ``held`` the model computes its stock attention, which can be differentiated; so does a model
    whose attention does not go through the attention interface, whose softmax is then held where it is computed. The
    model's own attention implementation is back when the context ends.
    """
    _register()
    before = _implementations(model)
    modules = list(model.modules())
    try:
        if not (held and _switched(model, IMPLEMENTATION)):
            _switched(model, "eager")
        for module in modules if held else ():
            _owners[module] = owner
        _thread.masks = owner.masks.started(owner.replaying) if held else None
        yield
    finally:
        _thread.masks = None
        for module in modules:
            _owners.pop(module, None)
        if _implementations(model) != before:
            model.set_attn_implementation(before)


def _switched(model: Any, wanted: str) -> bool:
    """Whether the model now computes its attention by this implementation."""
    able = getattr(type(model), "_can_set_attn_implementation", None)
    if able is None or able():
        with contextlib.suppress(ValueError):
            model.set_attn_implementation(wanted)
    return all(c._attn_implementation == wanted for c in _configs(model))


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    indices: Tensor | None = None,
    position_bias: Tensor | None = None,
    block_indices: Tensor | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """The attention function that the interface calls; positions come before heads in what it returns."""
    if indices is not None:  # the keys that an indexer has chosen for every query; stock kernels mask all others
        attention_mask = _only(indices, key.shape[2], attention_mask, query)
    if block_indices is not None:  # the same by blocks of keys, whose mask the indexer itself makes
        attention_mask = _only_blocks(module, block_indices, key.shape[2], attention_mask, query, rest)
    if position_bias is not None:
        mask = 0 if attention_mask is None else attention_mask[..., : key.shape[2]]
        attention_mask = position_bias.detach() + mask
    scores = Scores(query, key, attention_mask, scaling, softcap, s_aux)
    owner = _owners.get(module)
    if owner is None:  # a model that shares its config with the frozen one: serve it, keep nothing
        weights = scores.weights().to(value.dtype)
        return (weights @ value.repeat_interleave(query.shape[1] // value.shape[1], 1)).transpose(1, 2), None
    with owner.paused():
        return owner.mixed(module, scores, value), None


def _only(indices: Tensor, keys: int, mask: Tensor | None, query: Tensor) -> Tensor:
    """A mask that leaves the chosen keys [batch, queries, k] alone."""
    chosen = torch.zeros(*indices.shape[:2], keys, dtype=torch.bool, device=query.device)
    chosen = chosen.scatter(-1, indices.long(), value=True)[:, None]
    base = query.new_zeros(()) if mask is None else mask[..., :keys].to(query.dtype)
    return base.masked_fill(~chosen, torch.finfo(query.dtype).min)


def _only_blocks(
    module: Any, blocks: Tensor, keys: int, mask: Tensor | None, query: Tensor, rest: dict[str, Any]
) -> Tensor:
    """A mask that leaves the keys of the chosen blocks alone."""
    positions = rest.get("position_ids")
    if positions is None:
        positions = torch.arange(keys - query.shape[2], keys, device=query.device)[None].expand(len(query), -1)
    made: Tensor = module.indexer.build_block_mask(blocks, mask, keys, query.dtype, query.device, positions)
    return made


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    from transformers.masking_utils import eager_mask  # noqa: PLC0415 - transformers is slow to import

    masks = getattr(_thread, "masks", None)
    if masks is None:
        return eager_mask(*args, **kwargs)
    if not masks.replaying:
        masks.kept.append(_of_each(masks.together, **kwargs) if masks.together > 1 else eager_mask(*args, **kwargs))
    masks.calls += 1
    return masks.kept[masks.calls - 1] if masks.calls <= len(masks.kept) else eager_mask(*args, **kwargs)


def _of_each(prompts: int, **kwargs: Any) -> Tensor:
    """The mask of one prompt of so many whose tokens stand in turn, for each of them: none reads another's tokens."""
    from transformers.masking_utils import eager_mask  # noqa: PLC0415 - transformers is slow to import

    q, kv = (kwargs[name] // prompts for name in ("q_length", "kv_length"))
    own = eager_mask(**{**kwargs, "q_length": q, "kv_length": kv, "attention_mask": None})
    if own is None:
        own = torch.zeros(1, 1, q, kv, dtype=kwargs["dtype"], device=kwargs["device"])
    whole = own.new_full((*own.shape[:2], q, prompts, kv, prompts), torch.finfo(own.dtype).min)
    whole.diagonal(dim1=-3, dim2=-1).copy_(own[..., None])
    return whole.view(*own.shape[:2], q * prompts, kv * prompts)


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
