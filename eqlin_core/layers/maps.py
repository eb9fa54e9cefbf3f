"""The maps of all layers, one layer after the other: cumulative (from the embeddings) or of each block alone.

Forward accumulation carries the dense map of every token to every later position through the blocks once and reads all
layers and kinds on its way. Reverse passes take attention's rows at each layer back to the embeddings; the MLP's and
the block's maps follow from them exactly. Neither passes through the final norm; that is one factor for each row.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.layers.blocks import Check, OpenNetwork

Maps = dict[str, Float[Tensor, "T d d"]]  # by kind: the matrices of every token at the explained position


def forward_maps(net: OpenNetwork, columns: int, check: Check | None = None) -> Iterator[Maps]:
    """The cumulative maps of every layer by forward accumulation, ``columns`` basis vectors at a time."""
    T = net.position + 1
    entrance = net.entrance(check)
    d = entrance.shape[-1]
    carried = []  # of token i, its map to each position from i on: [T - i, d, d]
    for i in range(T):
        carried.append(entrance.new_zeros(T - i, d, d))
        carried[i][0] = entrance[i]
    for layer, block in enumerate(net.blocks):
        maps = net.position_maps(layer, check)
        cumulative = {kind: entrance.new_zeros(len(net.leaf[0]), d, d) for kind in ("attn", "mlp", "layer")}
        for i, whole in enumerate(carried):
            for start in range(0, d, columns):
                part = slice(start, start + columns)
                x = whole[..., part]  # a view: what is added to it stays
                attn = maps.attention(x, stop=T)
                mlp = maps.mlp[i:T] @ (x if block.parallel else x + attn)
                cumulative["attn"][i, :, part], cumulative["mlp"][i, :, part] = attn[-1], mlp[-1]
                x += attn
                x += mlp
            cumulative["layer"][i] = whole[-1]
            if check is not None:
                check()
        yield cumulative


def reverse_maps(net: OpenNetwork, check: Check | None = None) -> Iterator[Maps]:
    """The cumulative maps of every layer by reverse passes; only those of kind "layer" where blocks are not divided."""
    if not net.divided:
        for block in net.blocks:
            yield {"layer": net.jacobian(block.out[0, net.position], net.leaf, check)}
        return
    below = torch.zeros_like(net.entrance(check))  # what stands at the block's input, at the explained position
    below[net.position] = net.entrance()[net.position]
    for layer, block in enumerate(net.blocks):
        attn = net.jacobian(block.added("attn")[0, net.position], net.leaf, check)
        cumulative = _complete(net, layer, below, attn, check)
        below = cumulative["layer"]
        yield cumulative


def block_maps(net: OpenNetwork, check: Check | None = None) -> Iterator[Maps]:
    """The maps of every block alone, from its own input; only those of kind "layer" where blocks are not divided."""
    for layer, block in enumerate(net.blocks):
        if not net.divided:
            yield {"layer": net.jacobian(block.out[0, net.position], block.input, check)}
            continue
        attn = net.jacobian(block.added("attn")[0, net.position], block.input, check)
        below = torch.zeros_like(attn)
        below[net.position] = torch.eye(attn.shape[-1], dtype=attn.dtype, device=attn.device)
        yield _complete(net, layer, below, attn, check)


def _complete(net: OpenNetwork, layer: int, below: Tensor, attn: Tensor, check: Check | None) -> Maps:
    """All kinds from the map at the block's input and attention's: the MLP reads their sum, or the input alone."""
    mlp = net.mlp_map(layer, check) @ (below if net.blocks[layer].parallel else below + attn)
    return {"attn": attn, "mlp": mlp, "layer": below + attn + mlp}
