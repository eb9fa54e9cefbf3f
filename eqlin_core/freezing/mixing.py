"""Values mixed by held weights: what attention is once its weights stand."""

import torch
from jaxtyping import Float
from torch import Tensor


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
