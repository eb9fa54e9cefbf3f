"""Attention weights as the stock code computes them, and value rows mixed by them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from eqlin_core.audit.families import tiny_model
from eqlin_core.freezing.attention import IMPLEMENTATION, Masks, frozen_attention
from eqlin_core.freezing.live_weights import Scores
from eqlin_core.freezing.mixing import mix
from tests.cases import PROMPT, stock_outputs

T, HEADS, KV, E = 5, 4, 2, 8
GENERATOR = torch.Generator().manual_seed(1)
QUERY = torch.randn(1, HEADS, T, E, dtype=torch.float64, generator=GENERATOR)
KEY = torch.randn(1, KV, T, E, dtype=torch.float64, generator=GENERATOR)
CAUSAL = torch.full((1, 1, T, T), -torch.inf, dtype=torch.float64).triu(1)


@pytest.mark.parametrize("batch", [1, 3])
def test_mixing_is_the_product_of_each_head_with_the_values_it_shares(batch: int) -> None:
    weights = torch.randn(1, HEADS, T, T, dtype=torch.float64)
    value = torch.randn(batch, KV, T, E, dtype=torch.float64)
    expected = weights @ value.repeat_interleave(HEADS // KV, 1)  # batch, heads, T, E
    mixed = mix(weights, value)
    torch.testing.assert_close(mixed, expected.transpose(1, 2))
    assert mixed.is_contiguous(), "stock code takes views of it"


def test_rows_of_the_weights_are_distributions_over_what_the_mask_lets_through() -> None:
    weights = Scores(QUERY, KEY, CAUSAL, None).weights()
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, HEADS, T, dtype=torch.float64))
    assert (weights.triu(1) == 0).all()
    scores = QUERY[0, 3, 4] @ KEY[0, 1].T * E**-0.5
    torch.testing.assert_close(weights[0, 3, 4], scores.softmax(-1))


def test_scaling_softcap_and_sinks_are_part_of_the_weights() -> None:
    plain = Scores(QUERY, KEY, CAUSAL, 0.7).weights()
    capped = Scores(QUERY, KEY, CAUSAL, 0.7, softcap=1.0).weights()
    scores = torch.tanh(QUERY[0, 0, 4] @ KEY[0, 0].T * 0.7)
    torch.testing.assert_close(capped[0, 0, 4], scores.softmax(-1))
    assert not torch.allclose(plain, capped)
    sinks = torch.linspace(-1, 2, HEADS, dtype=torch.float64)
    sunk = Scores(QUERY, KEY, CAUSAL, 0.7, sinks=sinks).weights()
    scores = QUERY[0, :, 4:] @ KEY[0].repeat_interleave(2, 0).mT * 0.7
    total = scores.exp().sum(-1) + sinks.exp()[:, None]
    torch.testing.assert_close(sunk[0, :, 4], scores.exp()[:, 0] / total)
    assert (sunk.sum(-1) < 1).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_weights_are_at_least_float32(dtype: torch.dtype) -> None:
    weights = Scores(QUERY.to(dtype), KEY.to(dtype), CAUSAL.to(dtype), None).weights()
    assert weights.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert weights.isfinite().all()


class Owner:
    replaying = False
    masks = Masks()

    def mixed(self, module: Any, compute: Any, value: Any) -> Any:
        raise RuntimeError("the pass was ended")

    def paused(self) -> Any:
        return torch.no_grad()


@pytest.mark.parametrize("before", ["sdpa", "eager"])
def test_the_models_own_implementation_is_back_afterwards_also_after_an_error(before: str) -> None:
    lm = tiny_model("gemma3-multimodal")
    lm.model.set_attn_implementation(before)
    vision = lm.model.config.vision_config._attn_implementation
    expected = stock_outputs(lm, PROMPT)
    with pytest.raises(RuntimeError, match="ended"), frozen_attention(lm.model, Owner()):
        assert lm.text_config._attn_implementation == IMPLEMENTATION
        stock_outputs(lm, PROMPT)
    assert lm.text_config._attn_implementation == before
    assert lm.model.config.vision_config._attn_implementation == vision
    assert torch.equal(stock_outputs(lm, PROMPT), expected)
