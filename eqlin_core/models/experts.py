"""Mixtures of experts: the stock loop over experts, run on a batch without losing who chose which expert.

The loop gathers, for each expert, the tokens that chose it. Its coefficients are recorded on one prompt, so in a batch
the copies of a token have to stay next to each other: rows go through the experts token by token, not prompt by prompt.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

# By model, how many contexts are open: computations that give way to each other leave theirs in any order.
_eager: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_before: weakref.WeakKeyDictionary[Any, dict[str, str]] = weakref.WeakKeyDictionary()


@contextmanager
def eager_experts(model: Any) -> Iterator[None]:
    """Within the context the experts of ``model`` run their own stock loop, which every dtype has."""
    if not hasattr(model, "set_experts_implementation"):
        yield
        return
    if not _eager.get(model):
        config = model.config
        nested = {key: getattr(config, key, None) for key in config.sub_configs}
        _before[model] = {"": config._experts_implementation}
        _before[model] |= {key: c._experts_implementation for key, c in nested.items() if c is not None}
        model.set_experts_implementation("eager")
    _eager[model] = _eager.get(model, 0) + 1
    try:
        yield
    finally:
        _eager[model] -= 1
        if not _eager[model]:
            model.set_experts_implementation(_before.pop(model))


def fitting_experts(model: Any, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Within the context the experts of ``model`` run in ``dtype``: the stock loop in float64, else as configured."""
    return eager_experts(model) if dtype == torch.float64 else nullcontext()


def chooses_experts(tensors: list[Tensor], tokens: int) -> bool:
    """Whether a module called with these sends rows to experts: [T, d] on the linear path beside [T, k] indices."""
    rows = [t for t in tensors if t.dim() == 2 and t.shape[0] == tokens]
    return any(t.requires_grad for t in rows) and any(t.dtype == torch.long for t in rows)


def chooses_inside(tensors: list[Tensor], tokens: int) -> bool:
    """Whether such a module is called with whole prompts, [1, T, d] beside [T, k] indices, and gathers rows itself."""
    if not any(t.dtype == torch.long and t.dim() == 2 and t.shape[0] == tokens > 1 for t in tensors):
        return False
    return any(t.dim() == 3 and t.shape[:2] == (1, tokens) and t.requires_grad for t in tensors)


def token_by_token(tree: Any, tokens: int) -> Any:
    """Every [batch * tokens, ...] tensor of ``tree`` with its rows regrouped to [tokens * batch, ...]."""
    return _map_rows(tree, tokens, lambda t: t.unflatten(0, (-1, tokens)).transpose(0, 1).flatten(0, 1))


def prompt_by_prompt(tree: Any, tokens: int) -> Any:
    """The inverse of ``token_by_token``."""
    return _map_rows(tree, tokens, lambda t: t.unflatten(0, (tokens, -1)).transpose(0, 1).flatten(0, 1))


def _map_rows(tree: Any, tokens: int, regroup: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(tree, Tensor):
        return regroup(tree) if tree.dim() and tree.shape[0] and tree.shape[0] % tokens == 0 else tree
    if isinstance(tree, list | tuple):
        return type(tree)(_map_rows(item, tokens, regroup) for item in tree)
    if isinstance(tree, dict):
        return {key: _map_rows(item, tokens, regroup) for key, item in tree.items()}
    return tree
