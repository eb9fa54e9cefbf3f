"""Direct contributions: who writes the output into the residual stream, exactly, by head and by input token."""

from __future__ import annotations

import pytest
import torch

import eqlin_core as eq
from tests.cases import FAMILY_NAMES, PROMPT, family, llama

T = len(PROMPT)


def split(name: str = "llama") -> tuple[eq.LinearMap, eq.DirectContributions]:
    lm = family(name)
    lin = eq.linearize(lm, token_ids=PROMPT)
    return lin, eq.direct_contributions(lin, lm.unembedding[:4])


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_embedding_attention_mlp_and_biases_sum_to_the_output(name: str) -> None:
    lin, parts = split(name)
    expected = lin.lm.unembedding[:4].double() @ lin.output
    torch.testing.assert_close(parts.total, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.summed(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "phi", "gpt_oss"])
def test_heads_sum_to_their_layer_s_attention(name: str) -> None:
    lin, parts = split(name)
    heads = lin.lm.text_config.num_attention_heads
    assert parts.heads.shape == (4, lin.lm.n_layers, heads, T)
    torch.testing.assert_close(parts.heads.sum(2), parts.attn, rtol=1e-12, atol=1e-12)
    assert float(parts.heads[..., -1].std(2).min()) > 0, "heads differ"


def test_every_direction_s_token_terms_sum_to_those_of_the_whole_map() -> None:
    lin, parts = split("gpt2")
    terms, bias = lin.logit_split(lin.lm.unembedding[:4])
    by_token = parts.embedding + parts.attn.sum(1) + parts.mlp.sum(1)
    torch.testing.assert_close(by_token, terms, rtol=1e-11, atol=1e-12)
    rest = parts.embedding_bias + parts.attn_bias.sum(1) + parts.mlp_bias.sum(1) + parts.norm_bias
    torch.testing.assert_close(rest, bias, rtol=1e-11, atol=1e-12)


def test_without_biases_every_term_belongs_to_a_token() -> None:
    _, parts = split("llama")
    for bias in (parts.embedding_bias, parts.attn_bias, parts.mlp_bias, parts.head_bias, parts.norm_bias):
        assert float(bias.abs().max()) < 1e-13
    _, parts = split("gpt2")
    for bias in (parts.embedding_bias, parts.attn_bias, parts.mlp_bias, parts.head_bias, parts.norm_bias):
        assert float(bias.abs().max()) > 1e-3


def test_only_the_last_token_s_embedding_writes_directly() -> None:
    _, parts = split("llama")
    assert (parts.embedding[:, :-1] == 0).all()
    assert (parts.embedding[:, -1] != 0).all()


def test_the_table_of_heads_is_that_of_the_direct_contributions() -> None:
    lin, parts = split()
    heads = eq.head_contributions(lin, lin.lm.unembedding[:4])
    torch.testing.assert_close(heads, parts.heads, rtol=0, atol=0)


def test_the_split_is_linear_in_the_direction() -> None:
    lin, parts = split()
    w = lin.lm.unembedding[:4]
    difference = eq.direct_contributions(lin, (w[0] - w[1])[None])
    torch.testing.assert_close(difference.heads[0], parts.heads[0] - parts.heads[1], rtol=1e-11, atol=1e-13)


def test_the_chunk_of_tokens_changes_nothing() -> None:
    lm = llama("affine")
    w = lm.unembedding[:2]
    whole, small = (eq.direct_contributions(eq.linearize(lm, token_ids=PROMPT, memory_budget=b), w) for b in (None, 1))
    torch.testing.assert_close(small.heads, whole.heads, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(small.mlp, whole.mlp, rtol=1e-12, atol=1e-13)


def test_progress_is_reported_and_cancels() -> None:
    lin = eq.linearize(family("llama"), token_ids=PROMPT)
    with pytest.raises(eq.Cancelled):
        eq.direct_contributions(lin, lin.lm.unembedding[:1], progress=lambda fraction, message: False)
