"""Who writes into the residual stream what the output is made of: embeddings, attention heads and MLPs, token by token.

The *direct* contribution of a part is what it adds to the residual stream at the explained position, read by the final
norm held at its value. Direct contributions of all parts sum to the output exactly; so do a layer's heads to its
attention.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name, wide
from eqlin_core.errors import EqlinError
from eqlin_core.layers.blocks import Block, OpenNetwork
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.models.baselines import ZERO
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report
from eqlin_core.reprs import Facts, ShortRepr, counted, span


@dataclass(frozen=True, repr=False)
class DirectContributions(ShortRepr):
    """The logits w . y of m directions w, split by the part that writes and the input token that it comes from.

    ``embedding`` [m, T], ``attn`` and ``mlp`` [m, L, T], ``heads`` [m, L, H, T], which sum over H to ``attn``; the same
    names with ``_bias`` are what biases and constants bring by that way, without the last axis (a head's is what it
    mixes of them; its layer's holds the output's own bias as well); ``norm_bias`` [m] is the final norm's.
    ``embedding`` + ``attn`` + ``mlp`` and their biases and ``norm_bias`` sum to ``total`` [m].
    """

    embedding: Float[Tensor, "m T"]
    attn: Float[Tensor, "m L T"]
    mlp: Float[Tensor, "m L T"]
    heads: Float[Tensor, "m L H T"]
    embedding_bias: Float[Tensor, " m"]
    attn_bias: Float[Tensor, "m L"]
    mlp_bias: Float[Tensor, "m L"]
    head_bias: Float[Tensor, "m L H"]
    norm_bias: Float[Tensor, " m"]
    total: Float[Tensor, " m"]

    def _facts(self) -> Facts:
        m, layers, heads, tokens = self.heads.shape
        yield "directions", counted(m, "direction")
        yield "layers", counted(layers, "layer")
        yield "heads", counted(heads, "head")
        yield "tokens", counted(tokens, "token")
        yield "totals", f"total {span(self.total.tolist())}"
        yield "dtype", dtype_name(self.total.dtype)

    def summed(self) -> Float[Tensor, " m"]:
        """All parts together, to compare with ``total``."""
        tokens = self.embedding.sum(-1) + self.attn.sum((1, 2)) + self.mlp.sum((1, 2))
        return tokens + self.embedding_bias + self.attn_bias.sum(-1) + self.mlp_bias.sum(-1) + self.norm_bias


@passes
def direct_contributions(
    lin: LinearMap,
    directions: Float[Tensor, "m d"],
    progress: Progress | None = None,
    baseline: str | int | Float[Tensor, " d"] = ZERO,
) -> DirectContributions:
    """Each direction's logit by part and input token: one batched replay, and one small reverse step for each layer.

    Against a ``baseline`` m, as in ``LinearMap.against``, tokens bring what x_i - m does, and the biases what m does in
    every place. ``lin`` is the map from the embeddings to the output; raises EqlinError for another one, for blocks
    that are not input + attention + MLP, for mixers that are not attention, and for a baseline that is not one token.
    """
    checked_map(lin)
    arguments.rows("directions", directions, len(lin.output))
    arguments.called("progress", progress)
    net = OpenNetwork(lin)
    net.require_parts(by_heads=True)
    position, w = net.position, directions.to(lin.output)
    # What the output's direction looks for in the residual stream, and in the mixed values of every layer's heads.
    stream = net.rows(net.output[0, position], net.blocks[-1].out, w)[:, 0, position].to(w.device)  # m, d
    heads = []  # of every layer [m, H, e]
    for block in net.blocks:
        assert block.mixed is not None
        looking = net.rows(block.added("attn")[0, position], block.mixed, stream)[:, 0, position]
        heads.append(wide(looking).to(wide(stream).device))
    if len({looking.shape[1] for looking in heads}) > 1:
        raise EqlinError("The blocks of this model have different numbers of heads, so these make no table.")
    stream = wide(stream)

    def here(value: Tensor) -> Tensor:
        """In float64 and beside what reads it, wherever its block is."""
        return wide(value).to(stream.device)

    def written(blocks: list[Block]) -> dict[str, Tensor]:
        """The parts of every row of a replay: m first, rows last."""
        parts = {
            "embedding": stream @ here(blocks[0].input[:, position]).T,
            "heads": torch.stack([torch.einsum("mhe,bhe->mhb", heads[i], here(_mixed(b, position))) for i, b in
                                  enumerate(blocks)], 1),
        }  # fmt: skip
        for kind in ("attn", "mlp"):
            parts[kind] = torch.stack([stream @ here(b.added(kind)[:, position]).T for b in blocks], 1)
        return parts

    zero = written(net.replay(torch.zeros_like(lin.inputs)[None]))
    m = lin.baseline(baseline)
    changes = lin.inputs - m
    rows: list[dict[str, Tensor]] = []
    tokens = torch.arange(lin.n_tokens, device=lin.inputs.device)
    for part in tokens.split(lin._pass_rows()):
        report(progress, int(part[0]) / lin.n_tokens, "Heads")
        alone = lin.inputs.new_zeros(len(part), *lin.inputs.shape)
        alone[torch.arange(len(part)), part] = changes[part]
        rows.append({name: value - zero[name] for name, value in written(net.replay(alone)).items()})
    report(progress, 1.0, "Heads")
    constant = written(net.replay(m.expand(1, *lin.inputs.shape).contiguous())) if m.any() else zero
    out = here(net.blocks[-1].out[0, position].detach())
    total = wide(w) @ wide(lin.output)
    return DirectContributions(
        **{name: torch.cat([r[name] for r in rows], -1).cpu() for name in zero},
        embedding_bias=constant["embedding"][..., 0].cpu(),
        attn_bias=constant["attn"][..., 0].cpu(),
        mlp_bias=constant["mlp"][..., 0].cpu(),
        head_bias=constant["heads"][..., 0].cpu(),
        norm_bias=(total - stream @ out).cpu(),
        total=total.cpu(),
    )


def head_contributions(
    lin: LinearMap, directions: Float[Tensor, "m d"], progress: Progress | None = None
) -> Float[Tensor, "m L H T"]:
    """What each head of each layer writes directly of every direction's logit, by the input token it comes from."""
    return direct_contributions(lin, directions, progress).heads


def _mixed(block: Block, position: int) -> Float[Tensor, "b H e"]:
    assert block.mixed is not None
    return block.mixed[:, position]
