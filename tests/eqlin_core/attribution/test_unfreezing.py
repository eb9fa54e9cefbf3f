"""What freezing hides: parts that sum to what the untouched model does, each against its own definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import eqlin_core as eq
from eqlin_core.attribution.deletion import Deleter
from eqlin_core.attribution.unfreezing import hidden_effects
from eqlin_core.models.baselines import mean_embedding
from tests.cases import FAMILY_NAMES, PROMPT, family, llama
from tests.eqlin_core.maps.llama_by_hand import LlamaByHand


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_the_parts_sum_to_what_the_model_does(name: str) -> None:
    lm = family(name)
    lin = eq.linearize(lm, token_ids=PROMPT)
    w = torch.randn(2, lin.width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = hidden_effects(lin, w)
    torch.testing.assert_close(found.map + found.attention + found.norms + found.gates, found.measured)
    terms, _ = lin.logit_split(w, "mean")
    torch.testing.assert_close(found.map, terms, rtol=1e-9, atol=1e-10)
    for i in (0, len(PROMPT) - 1):
        rows = lin.inputs.clone()
        rows[i] = mean_embedding(lm)
        with torch.no_grad():
            lm.model.set_experts_implementation("eager")
            y = lm.model.get_decoder()(inputs_embeds=rows[None], use_cache=False).last_hidden_state[0, -1]
        torch.testing.assert_close(found.measured[:, i], w @ (lin.output - y), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dials", [{}, {"gated_path": "half", "attention": 0.3}])
def test_freed_attention_is_that_of_a_llama_by_hand_whose_norms_and_gates_are_held(dials: dict) -> None:
    lm, token = llama(), 3
    lin = eq.linearize(lm, token_ids=PROMPT, **dials)
    w = torch.randn(1, lin.width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = hidden_effects(lin, w)
    held = _HeldButAttention(lm, list(PROMPT), lin.convention.gate_share)
    rows = lin.inputs.clone()
    rows[token] = mean_embedding(lm)
    fall = w[0] @ (lin.output - held.without(rows))
    torch.testing.assert_close((found.map + found.attention)[0, token], fall, rtol=1e-5, atol=1e-6)


class _HeldButAttention(LlamaByHand):
    """Norm denominators and gates from the recorded prompt, attention computed anew."""

    def __init__(self, lm: eq.LanguageModel, ids: list[int], gate_share: float) -> None:
        super().__init__(lm, ids, gate_share, 0.0)

    @torch.no_grad()
    def without(self, rows: torch.Tensor) -> torch.Tensor:
        recorded, x = self.inputs, rows
        e = self.config.hidden_size // self.config.num_attention_heads
        T = len(x)
        cos, sin = (t[0].double() for t in self.decoder.rotary_emb(x[None], torch.arange(T)[None]))
        future = torch.ones(T, T, dtype=torch.bool).triu(1)

        def norm(module: Any, at: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            scale = torch.rsqrt(at.square().mean(-1, keepdim=True) + module.variance_epsilon)
            return module.weight * scale * value

        def attend(layer: Any, h: torch.Tensor) -> torch.Tensor:
            a = layer.self_attn
            q, k, v = (p(h).view(T, -1, e).transpose(0, 1) for p in (a.q_proj, a.k_proj, a.v_proj))
            q, k = (t * cos + torch.cat([-t[..., e // 2 :], t[..., : e // 2]], -1) * sin for t in (q, k))
            k, v = (t.repeat_interleave(len(q) // len(t), 0) for t in (k, v))
            weights = (q @ k.mT / e**0.5).masked_fill(future, -torch.inf).softmax(-1)
            return a.o_proj((weights @ v).transpose(0, 1).reshape(T, -1))

        for layer in self.decoder.layers:
            first, second = layer.input_layernorm, layer.post_attention_layernorm
            mid = recorded + attend(layer, norm(first, recorded, recorded))
            x = x + attend(layer, norm(first, recorded, x))
            h0, h = norm(second, mid, mid), norm(second, mid, x)
            up0, g0, up, g = (
                layer.mlp.up_proj(h0),
                layer.mlp.gate_proj(h0),
                layer.mlp.up_proj(h),
                layer.mlp.gate_proj(h),
            )
            held = torch.sigmoid(g0)
            x = x + layer.mlp.down_proj((1 - self.a) * held * g0 * up + self.a * held * g * up0)
            recorded = mid + layer.mlp.down_proj(held * g0 * up0)
        return norm(self.decoder.norm, recorded, x)[-1]


def test_maps_of_inner_places_have_no_hidden_effects() -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT, target=eq.Site(1, "layer"))
    with pytest.raises(eq.EqlinError, match="from the embeddings to the output"):
        hidden_effects(lin, torch.zeros(1, 32, dtype=torch.float64))


def test_nothing_is_left_behind_in_the_model() -> None:
    lm = llama()
    before = Deleter(lm, PROMPT, [1]).leave_one_out()
    hidden_effects(eq.linearize(lm, token_ids=PROMPT), torch.ones(1, 32, dtype=torch.float64))
    for a, b in zip(Deleter(lm, PROMPT, [1]).leave_one_out(), before, strict=True):
        assert torch.equal(a, b)
