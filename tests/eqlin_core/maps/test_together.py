"""Prompts frozen together: the numbers are those of each prompt's own map, for every family and every way to split."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import eqlin_core as eq
from eqlin_core.audit.architectures import tiny_architecture
from eqlin_core.errors import Cancelled
from eqlin_core.maps.together import linearize_together
from tests.cases import PROMPT, default_model, family

PROMPTS = [PROMPT, [3, 3, 8, 1, 40, 2, 9, 17, 5, 30, 12], PROMPT[::-1]]
CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}
# A sliding window, learned positions, biases, experts, caps on scores, layers of two types, sinks, a scaled embedding.
FAMILIES = [
    *("llama", "gpt2", "gemma3"),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("mistral", "mixtral", "gemma2", "gpt_oss", "opt", "cohere2", "qwen3_moe")
    ),
]
# Recurrent ones, one whose attention stands between modules, one that is told no positions.
ALONE = ["mamba2", "bloom", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rwkv", "mpt"))]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_prompt_has_the_numbers_of_its_own_map(name: str) -> None:
    lm = family(name)
    maps = linearize_together(lm, PROMPTS)
    found = maps.contributions()
    directions = torch.randn(len(PROMPTS), 2, maps.outputs.shape[-1], dtype=torch.float64)
    terms, constants = maps.logit_split(directions)
    for n, ids in enumerate(PROMPTS):
        lin = eq.linearize(lm, token_ids=ids)
        torch.testing.assert_close(maps.inputs[n], lin.inputs, **CLOSE)
        torch.testing.assert_close(maps.outputs[n], lin.output, **CLOSE)
        torch.testing.assert_close(maps.biases[n], lin.bias, **CLOSE)
        torch.testing.assert_close(found[n], lin.contributions(), **CLOSE)
        torch.testing.assert_close(maps.stock()[n], lin.stock()[lin.position], **CLOSE)
        own = lin.logit_split(directions[n])
        torch.testing.assert_close(terms[n], own[0], **CLOSE)
        torch.testing.assert_close(constants[n], own[1], **CLOSE)
    assert all(exactness.exact for exactness in maps.exactness())


@pytest.mark.parametrize("dial", [("half", "half"), ("gate", "held"), ("up", "live")])
@pytest.mark.parametrize("name", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_so_it_has_by_other_maps(name: str, dial: tuple[str, str]) -> None:
    lm = family(name)
    maps = linearize_together(lm, PROMPTS, gated_path=dial[0], attention=dial[1])
    for n, ids in enumerate(PROMPTS):
        lin = eq.linearize(lm, token_ids=ids, gated_path=dial[0], attention=dial[1])
        torch.testing.assert_close(maps.contributions()[n], lin.contributions(), **CLOSE)
        torch.testing.assert_close(maps.biases[n], lin.bias, **CLOSE)


@pytest.mark.parametrize("name", ALONE)
def test_models_whose_prompts_cannot_stand_side_by_side_take_one_alone(name: str) -> None:
    lm = tiny_architecture(name)
    with pytest.raises(eq.EqlinError, match=r"side by side|other ways than by attention"):
        linearize_together(lm, PROMPTS)
    alone = linearize_together(lm, PROMPTS[:1])
    lin = eq.linearize(lm, token_ids=PROMPT)
    torch.testing.assert_close(alone.contributions()[0], lin.contributions(), **CLOSE)
    assert alone.exactness()[0].exact
    torch.testing.assert_close(alone.whole.output, lin.output, **CLOSE)


def test_the_default_model_gives_the_same_numbers_to_its_precision() -> None:
    lm = default_model("float32")
    texts = [
        "The bridge out of Marin is the",
        "Water boils at a temperature of one",
    ]
    maps = linearize_together(lm, texts)
    for n, text in enumerate(texts):
        lin = eq.linearize(lm, text)
        size = float(lin.contributions().norm())
        assert float((maps.contributions()[n] - lin.contributions()).norm()) < 1e-5 * size
        exactness = maps.exactness()[n]
        assert exactness.exact
        assert exactness.reconstruction < 3e-6


def test_the_model_is_as_before_and_a_waiting_person_can_leave() -> None:
    lm = family("llama")
    ids = torch.tensor([PROMPT])
    before = lm.model(input_ids=ids).logits
    maps = linearize_together(lm, PROMPTS)
    with pytest.raises(Cancelled):
        maps.contributions(lambda *_: False)
    assert maps.contributions().shape == (3, len(PROMPT), lm.width)
    assert torch.equal(lm.model(input_ids=ids).logits, before)


@pytest.mark.parametrize(
    ("prompts", "sentence"),
    [
        ([], "prompts is a list of at least one prompt"),
        ([PROMPT, PROMPT[:3]], "The prompts have 3 to 11 tokens: only those of one length go together"),
        ([PROMPT, [10**9]], "1000000000"),
        ([[]], "empty|at least"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(prompts: Any, sentence: str) -> None:
    with pytest.raises(eq.EqlinError, match=sentence):
        linearize_together(family("llama"), prompts)
