"""Attention whose weights have a path of their own: how they answer to queries and keys near the recorded prompt.

The scores' product q k is split in half, each factor held once; from the scores to the weights the function is replaced
by its derivative at the recorded scores. Both keep the value, and together they are affine in queries and keys: what
they give where both are zero, "what attention's shape gives", adds to the map's constant b.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.dtypes import coefficient_dtype


@dataclass(frozen=True)
class Scores:
    """What attention weights are made of: softmax(softcap(q k scaling) + mask), with sinks as one more column."""

    query: Float[Tensor, "batch heads queries e"]
    key: Float[Tensor, "batch kv keys e"]
    mask: Tensor | None
    scaling: float | None
    softcap: float | None = None
    sinks: Tensor | None = None

    @property
    def scale(self) -> float:
        """What the products of queries and keys are multiplied with."""
        return self.query.shape[-1] ** -0.5 if self.scaling is None else self.scaling

    def weights(self) -> Float[Tensor, "batch heads queries keys"]:
        """The weights as the stock code defines them, evaluated in float32 or better."""
        dtype = coefficient_dtype(self.query.dtype)
        scores = self.query.to(dtype) @ _for_heads(self.key, self.query).to(dtype).transpose(2, 3) * self.scale
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        if self.mask is not None:
            scores = scores + self.mask[..., : self.key.shape[2]].to(dtype)
        if self.sinks is None:
            return scores.softmax(-1)
        column = self.sinks.detach().to(dtype).reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        return torch.cat([scores, column], -1).softmax(-1)[..., :-1]


class LiveWeights:
    """The weights of one call as an affine function of its queries and keys, and what they mix: the recorded values."""

    def __init__(self, weights: Float[Tensor, "1 heads queries keys"], scores: Scores, value: Tensor) -> None:
        dtype = coefficient_dtype(scores.query.dtype)
        self._weights = weights
        self._query = scores.query.detach().to(dtype)  # 1, heads, queries, e
        self._key = _for_heads(scores.key, scores.query).detach().to(dtype)  # 1, heads, keys, e
        self._value = _for_heads(value, scores.query).detach().to(dtype)  # 1, heads, keys, e
        raw = self._query @ self._key.transpose(2, 3) * scores.scale
        slope = 1.0 if scores.softcap is None else 1 - torch.tanh(raw / scores.softcap).square()
        self._answer = weights * slope  # of each weight to its own score, before all of a query are made to sum to one
        self._recorded = raw
        self._scale = scores.scale

    def mixed(
        self, query: Float[Tensor, "batch heads queries e"], key: Float[Tensor, "batch kv keys e"]
    ) -> Float[Tensor, "batch queries heads wide"]:
        """The recorded values mixed by the weights that these queries and keys give."""
        dtype, wide = query.dtype, self._query.dtype
        keys = _for_heads(key, query).to(wide).transpose(2, 3)
        scores = (query.to(wide) @ self._key.transpose(2, 3) + self._query @ keys) * (self._scale / 2)
        change = self._answer * (scores - self._recorded)
        change = change - self._weights * change.sum(-1, keepdim=True)
        return ((self._weights + change) @ self._value).transpose(1, 2).to(dtype)


def _for_heads(tensor: Float[Tensor, "batch kv keys e"], query: Tensor) -> Float[Tensor, "batch heads keys e"]:
    """Keys or values repeated for all the query heads that share them."""
    return tensor.repeat_interleave(query.shape[1] // tensor.shape[1], dim=1)
