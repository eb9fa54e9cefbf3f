"""What every block and head writes of directions at the last positions of one prompt, or of several frozen together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import wide
from eqlin_core.layers.blocks import OpenNetwork
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.multiplication import passes


@dataclass(frozen=True)
class DirectTerms:
    """Each logit w . y of B prompts and m directions by the part that writes it, all tokens and biases together.

    ``embedding`` [B, m], ``attn`` and ``mlp`` [B, m, L], ``heads`` [B, m, L, H], which sum over H to ``attn`` but for
    what the attention's output adds of its own; None where the blocks have no heads. ``rest`` [B, m] is what the final
    norm adds. ``embedding`` + ``attn`` + ``mlp`` + ``rest`` sum to w . y. ``first`` [B, L, H]: the weight by which each
    head reads the first token. ``streams`` [B, L, d]: what every block hands on.
    """

    embedding: Float[Tensor, "B m"]
    attn: Float[Tensor, "B m L"]
    mlp: Float[Tensor, "B m L"]
    heads: Float[Tensor, "B m L H"] | None
    rest: Float[Tensor, "B m"]
    first: Float[Tensor, "B L H"] | None
    streams: Float[Tensor, "B L d"]


@passes
def direct_terms(lin: LinearMap, directions: Float[Tensor, "B m d"]) -> DirectTerms:
    """The terms at the last B positions of a map, which are the last ones of B prompts that were frozen together.

    Raises EqlinError for blocks that are not input + mixer + MLP.
    """
    B, width = len(directions), len(lin.output)
    arguments.tensor("directions", directions, f"[{B}, m, {width}]", lambda s: len(s) == 3 and s[-1] == width)
    net = OpenNetwork(lin)
    net.require_parts()
    w = directions.to(lin.output).transpose(0, 1).contiguous()  # m, B, d
    last = slice(lin.n_tokens - B, None)
    stream = net.rows(net.output[0, last], net.blocks[-1].out, w)[:, 0, last].to(w.device)
    by_heads = net.by_heads and len({b.mixed.shape[2] for b in net.blocks if b.mixed is not None}) == 1
    heads, first = [], []
    for block in net.blocks if by_heads else ():
        assert block.mixed is not None
        assert block.weights is not None
        looking = net.rows(block.added("attn")[0, last], block.mixed, stream)[:, 0, last]  # m, B, H, e
        mixed = wide(block.mixed[0, last].detach())
        heads.append(torch.einsum("mbhe,bhe->bmh", wide(looking), mixed).cpu())
        weights = wide(block.weights[0, :, last, :B])
        first.append(weights.diagonal(dim1=1, dim2=2).T.cpu())  # of each prompt's first token alone

    def written(value: Tensor) -> Tensor:
        """[B, m] of what stands at the last positions."""
        read, here = wide(stream), wide(value[0, last].detach())
        return torch.einsum("mbd,bd->bm", read, here.to(read.device)).cpu()

    with torch.no_grad():
        embedding = written(net.blocks[0].input)
        attn, mlp = (torch.stack([written(b.added(kind)) for b in net.blocks], -1) for kind in ("attn", "mlp"))
        asked, outputs = wide(w), wide(lin.network.values[last].detach())
        total = torch.einsum("mbd,bd->bm", asked, outputs.to(asked.device)).cpu()
        return DirectTerms(
            embedding,
            attn,
            mlp,
            torch.stack(heads, 2) if by_heads else None,
            total - embedding - attn.sum(-1) - mlp.sum(-1),
            torch.stack(first, 1) if by_heads else None,
            torch.stack([b.out[0, last].detach().to(lin.output.device) for b in net.blocks], 1),
        )
