"""The equivalent linear map of a Llama by plain autograd: a second implementation, to compare the engine's with.

The decoder is written out from its weights, and what is held fixed is detached where the formula says so. The map is
then autograd's own derivative at the prompt, softmax's included.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eqlin_core.models.language_model import LanguageModel


class LlamaByHand:
    """A Llama at one prompt: ``output`` [d] and ``blocks`` (the stream after each block) for given embeddings.

    ``gate_share`` and ``weight_share`` are the shares of the gate's and of the attention weights' path.
    """

    def __init__(self, lm: LanguageModel, ids: list[int], gate_share: float, weight_share: float) -> None:
        self.decoder, self.config = lm.model.get_decoder(), lm.text_config
        self.ids, self.a, self.c = ids, gate_share, weight_share
        with torch.no_grad():
            self.inputs = self.decoder.embed_tokens(torch.tensor(ids))  # T, d

    def run(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """(output [T, d], stream after each block, mixed values [T, heads, e] of each block)."""
        T = len(x)
        e = self.config.hidden_size // self.config.num_attention_heads
        cos, sin = self.decoder.rotary_emb(x[None], torch.arange(T)[None])
        cos, sin = cos[0].double(), sin[0].double()  # T, e
        future = torch.ones(T, T, dtype=torch.bool).triu(1)
        blocks, mixes = [], []
        for layer in self.decoder.layers:
            attention, mlp = layer.self_attn, layer.mlp
            h = _rms(layer.input_layernorm, x)
            q, k, v = (
                p(h).view(T, -1, e).transpose(0, 1) for p in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            q, k = (t * cos + torch.cat([-t[..., e // 2 :], t[..., : e // 2]], -1) * sin for t in (q, k))
            group = len(q) // len(k)
            k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
            scores = (q.detach() @ k.mT + q @ k.detach().mT) / 2 / e**0.5
            weights = scores.masked_fill(future, -torch.inf).softmax(-1)
            mixed = (1 - self.c) * weights.detach() @ v + self.c * weights @ v.detach()  # heads, T, e
            mixes.append(mixed.transpose(0, 1))
            x = x + attention.o_proj(mixes[-1].reshape(T, -1))
            h = _rms(layer.post_attention_layernorm, x)
            up, g = mlp.up_proj(h), mlp.gate_proj(h)
            gate = torch.sigmoid(g.detach()) * g  # SiLU in its closed form
            x = x + mlp.down_proj((1 - self.a) * gate.detach() * up + self.a * gate * up.detach())
            blocks.append(x)
        return _rms(self.decoder.norm, x), blocks, mixes

    def map(self) -> tuple[Tensor, Tensor, Tensor]:
        """(J [T, d, d], y [d], b [d]) from the embeddings to the output at the last position."""
        y = self.run(self.inputs)[0][-1].detach()
        J: Any = torch.autograd.functional.jacobian(lambda x: self.run(x)[0][-1], self.inputs)  # d, T, d
        J = J.transpose(0, 1)
        return J, y, y - torch.einsum("tij,tj->i", J, self.inputs)


def _rms(norm: Any, x: Tensor) -> Tensor:
    held = torch.rsqrt(x.detach().square().mean(-1, keepdim=True) + norm.variance_epsilon)
    return norm.weight * held * x
