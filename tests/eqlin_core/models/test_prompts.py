"""What linearize says to prompts that cannot be used, and what it does with ones that merely look odd."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import eqlin_core as eq
from eqlin_core.models.prompts import _whole_numbers
from tests.cases import MARIN, PROMPT, default_model, llama


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ({"prompt": ""}, "The prompt is empty"),
        ({"prompt": " \n\t "}, "The prompt is empty"),
        ({"token_ids": []}, "The prompt has no tokens"),
        ({}, "Give either a prompt or token_ids"),
        ({"prompt": "a", "token_ids": [1]}, "not both"),
        ({"token_ids": [5, 49152]}, "Token id 49152 is outside this model's vocabulary of 49152 tokens"),
        ({"token_ids": [-1]}, "Token id -1 is outside"),
        ({"token_ids": [5] * 8193}, "The prompt has 8193 tokens and this model reads at most 8192"),
    ],
)
@pytest.mark.parametrize("function", [eq.linearize, eq.ordinary_jacobian])
def test_a_prompt_that_cannot_be_used_is_refused_in_one_sentence(function: Any, prompt: Any, sentence: str) -> None:
    with pytest.raises(eq.EqlinError) as caught:
        function(default_model(), **prompt)
    message = str(caught.value)
    assert sentence in message
    assert "\n" not in message


def test_a_prompt_without_a_tokenizer_is_refused_and_token_ids_are_taken() -> None:
    with pytest.raises(eq.EqlinError, match="has no tokenizer"):
        eq.linearize(llama(), "The bridge")
    lin = eq.linearize(llama(), token_ids=[5, 6, 7])
    assert lin.tokens == ["<5>", "<6>", "<7>"]
    assert lin.token_ids == [5, 6, 7]


def test_a_batch_of_one_is_its_row() -> None:
    assert _whole_numbers(torch.tensor([[5, 6, 7]])) == [5, 6, 7] == _whole_numbers(torch.tensor([5, 6, 7]))
    assert _whole_numbers(torch.tensor([[5]])) == [5]
    with pytest.raises(eq.EqlinError, match="token_ids is a list of token ids, not a tensor of shape"):
        _whole_numbers(torch.tensor([[5, 6], [7, 8]]))


def test_prompts_in_a_list_have_a_map_each() -> None:
    maps = eq.linearize(default_model("float32"), [MARIN, "Golden"])
    assert [lin.token_ids for lin in maps] == [default_model("float32").encode(p) for p in (MARIN, "Golden")]
    alone = eq.linearize(default_model("float32"), "Golden")
    torch.testing.assert_close(maps[1].contributions(), alone.contributions(), rtol=0, atol=0)
    with pytest.raises(eq.EqlinError, match="The prompt is empty"):
        eq.linearize(default_model("float32"), [MARIN, " "])


def test_a_matrix_that_fits_nowhere_is_refused_before_it_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT)
    monkeypatch.setattr("eqlin_core.resources.budget.free_bytes", lambda device: 1000)
    monkeypatch.setattr("eqlin_core.resources.plan.free_disk", lambda: 2000)
    with pytest.raises(eq.EqlinError, match=r"needs .* KiB, more than the free memory, and .* are free on the disk"):
        lin.jacobian()
    assert lin.exactness().exact, "contributions need no matrix"


@pytest.mark.parametrize(
    "prompt", ["Golden", "\U0001f309 אני \u200e مرحبا", "line\nbreak\ttab", "<|im_start|>user", "e\u0301" * 3]
)
def test_odd_text_is_analysed_like_any_other(prompt: str) -> None:
    lin = eq.linearize(default_model("float32"), prompt)
    assert lin.exactness().exact
    assert len(lin.tokens) == lin.n_tokens


def test_a_prompt_of_one_token_has_one_matrix() -> None:
    lin = eq.linearize(llama("affine"), token_ids=[9])
    assert lin.jacobian().shape == (1, 32, 32)
    assert lin.exactness().exact
    torch.testing.assert_close(lin.contributions()[0] + lin.bias, lin.output, rtol=1e-12, atol=1e-12)
    assert eq.spectrum(lin, k=3).S.shape == (1, 3)


def test_the_prompt_and_its_token_ids_give_the_same_map() -> None:
    lm = default_model("float32")
    text = eq.linearize(lm, MARIN)
    ids = eq.linearize(lm, token_ids=text.token_ids)
    assert ids.tokens == text.tokens == ["The", " bridge", " out", " of", " Marin", " is", " the"]
    torch.testing.assert_close(ids.contributions(), text.contributions(), rtol=0, atol=0)
