"""Vectors read as tokens: through the unembedding, or by cosine with the input embeddings."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import wide
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.multiplication import passes
from eqlin_core.runs.values import Row

# Vocabulary rows scored at a time: bounds memory at a few hundred MB for a 260,000-token vocabulary in float32.
_BLOCK = 32768
# The same where they are in float64.
_WIDE_BLOCK = 4096


@passes
def read_output(lm: LanguageModel, vectors: Float[Tensor, "*batch d"], k: int = 8) -> list[Row]:
    """For each vector its k highest (token, score) pairs, score = (W_U v)_token; rows in the order of the vectors."""
    k = _checked(lm, vectors, k)
    return _named(lm, *top_tokens(lm.unembedding, vectors, k))


@passes
def read_input(lm: LanguageModel, vectors: Float[Tensor, "*batch d"], k: int = 8) -> list[Row]:
    """For each vector its k nearest (token, cosine) pairs among the input embeddings."""
    k = _checked(lm, vectors, k)
    return _named(lm, *top_tokens(lm.input_embeddings, vectors, k, cosine=True))


@torch.no_grad()
def next_token_logits(lm: LanguageModel, outputs: Float[Tensor, "m d"]) -> Float[Tensor, "m vocab"]:
    """The logits of m output embeddings, with all that the model applies to them: head bias, scaling, soft-capping.

    The model runs on one token, and the outputs take the place of what its decoder returned.
    """
    hidden = outputs.to(lm.unembedding)[None]

    def replace(_module: Any, _args: Any, out: Any) -> Any:
        out.last_hidden_state = hidden
        return out

    handle = lm.decoder.register_forward_hook(replace)
    one = torch.ones(1, 1, dtype=torch.long, device=lm.device)
    try:
        with eager_experts(lm.model):  # the fused experts know no float64
            return lm.model(input_ids=one, attention_mask=one, use_cache=False).logits[0]
    finally:
        handle.remove()


@passes
@torch.no_grad()
def mean_rows(lm: LanguageModel, p: Float[Tensor, "m vocab"]) -> Float[Tensor, "m d"]:
    """sum_v p_v W_v of each of m distributions, in float64: a row of W less it may be far smaller than either."""
    table, found = lm.unembedding, torch.zeros(())
    for start in range(0, len(table), _WIDE_BLOCK):
        block = wide(table[start : start + _WIDE_BLOCK])
        found = found.to(block) + wide(p[:, start : start + len(block)]).to(block.device) @ block
    return found


@passes
def top_tokens(
    table: Float[Tensor, "vocab d"], vectors: Float[Tensor, "*batch d"], k: int, *, cosine: bool = False
) -> tuple[Float[Tensor, "m k"], Int[Tensor, "m k"]]:
    """(scores, token ids) of the k best rows of ``table`` for each of the m vectors, scanned in blocks of rows."""
    flat = vectors.reshape(-1, vectors.shape[-1]).to(table)
    if cosine:
        flat = flat / flat.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    best_scores = flat.new_empty(len(flat), 0)
    best_ids = torch.empty(len(flat), 0, dtype=torch.long, device=flat.device)
    for start in range(0, len(table), _BLOCK):
        block = table[start : start + _BLOCK]
        scores = flat @ block.T
        if cosine:
            scores = scores / block.norm(dim=-1).clamp_min(torch.finfo(flat.dtype).tiny)
        # Each block's own k best, merged with the k best so far: ranks 2..k stay right, not only rank 1.
        block_scores, block_ids = scores.topk(min(k, len(block)))
        best_scores = torch.cat([best_scores, block_scores], -1)
        best_ids = torch.cat([best_ids, block_ids + start], -1)
        best_scores, order = best_scores.topk(min(k, best_scores.shape[-1]))
        best_ids = best_ids.gather(-1, order)
    return best_scores, best_ids


def _checked(lm: Any, vectors: Any, k: Any) -> int:
    arguments.vectors("vectors", vectors, checked_model(lm).unembedding.shape[1])
    return arguments.whole("k", k, 1)


def _named(lm: LanguageModel, scores: Tensor, ids: Tensor) -> list[Row]:
    distinct = sorted(set(ids.flatten().tolist()))
    names = dict(zip(distinct, lm.token_strings(distinct), strict=True))
    return [
        [(names[i], float(s)) for i, s in zip(row_ids, row_scores, strict=True)]
        for row_ids, row_scores in zip(ids.tolist(), scores.tolist(), strict=True)
    ]
