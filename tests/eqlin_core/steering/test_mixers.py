"""Texts of models that keep other caches than keys and values, none, or one that changes their answer."""

from __future__ import annotations

import pytest
import torch

import eqlin_core as eq
from eqlin_core.attribution.deletion import Deleter
from eqlin_core.audit.architectures import tiny_architecture
from eqlin_core.models.caches import cache_name
from eqlin_core.models.experts import fitting_experts
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.steering.metrics import steered_logits
from tests.cases import PROMPT

CACHES = {
    "llama": "past_key_values",
    "qwen3_next": "past_key_values",
    "mamba": "cache_params",
    "rwkv": None,  # a state of its own
    "moshi": None,  # goes on otherwise than it reads
}
N = 4


def recomputed(lm: LanguageModel) -> list[int]:
    ids = list(PROMPT)
    with torch.no_grad(), fitting_experts(lm.model, lm.dtype):
        for _ in range(N):
            ids.append(int(lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(PROMPT) :]


@pytest.mark.parametrize("model_type", CACHES)
def test_a_text_is_what_the_model_says_when_it_reads_all_of_it_again(model_type: str) -> None:
    lm = tiny_architecture(model_type, torch.float32)
    assert cache_name(lm) == CACHES[model_type]
    operator = eq.steering_operator(lm, token_ids=PROMPT[:4])
    both = eq.steering_sweep(lm, operator=operator, strengths=[0.0, 1.5], token_ids=PROMPT, max_new_tokens=N)
    unsteered, steered = both.generations
    assert unsteered.token_ids == recomputed(lm)
    alone = eq.steer(lm, operator=operator, strength=1.5, token_ids=PROMPT, max_new_tokens=N)
    assert steered.token_ids == alone.token_ids


def test_blocks_that_read_the_embeddings_again_are_steered_row_by_row() -> None:
    lm = tiny_architecture("zamba", torch.float32)
    operator = eq.steering_operator(lm, token_ids=PROMPT[:4])
    together = steered_logits(lm, [PROMPT, PROMPT], 1, operator, [0.0, 1.5])
    apart = [steered_logits(lm, [PROMPT], 1, operator, [strength]) for strength in (0.0, 1.5)]
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-4, atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 0.1


def test_a_model_that_reads_ids_beside_embeddings_is_not_measured_without_a_token() -> None:
    lm = tiny_architecture("gemma4_text", torch.float32)
    with pytest.raises(eq.EqlinError, match="reads token ids beside their embeddings"):
        Deleter(lm, PROMPT, [1])
