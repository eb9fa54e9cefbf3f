"""Tokens deleted from the untouched model's prompt: against the model itself run on what is left."""

from __future__ import annotations

import pytest
import torch

import eqlin_core as eq
from eqlin_core.attribution.deletion import Deleter
from eqlin_core.models.baselines import baseline_embedding, begin_token, mean_embedding, token_id, with_begin
from tests.cases import PROMPT, default_model, family, llama

TARGETS = [3, 7]


@torch.no_grad()
def log_probabilities(lm: eq.LanguageModel, embeddings: torch.Tensor) -> torch.Tensor:
    lm.model.set_experts_implementation("eager")
    return lm.model(inputs_embeds=embeddings[None]).logits[0, -1].double().log_softmax(-1)[TARGETS]


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "mixtral"])
def test_deletion_by_the_mean_is_the_model_on_that_embedding(name: str) -> None:
    lm = family(name)
    embeddings = lm.model.get_input_embeddings()(torch.tensor(PROMPT))
    falls = Deleter(lm, PROMPT, TARGETS).leave_one_out()[1]
    whole = log_probabilities(lm, embeddings)
    for i in range(len(PROMPT)):
        without = embeddings.clone()
        without[i] = lm.model.get_input_embeddings()(torch.arange(lm.vocab_size)).mean(0)
        torch.testing.assert_close(falls[i], whole - log_probabilities(lm, without), rtol=1e-6, atol=1e-7)


def test_deletion_by_removal_is_the_model_on_the_shorter_prompt() -> None:
    lm = llama()
    deleter = Deleter(lm, PROMPT, TARGETS, "removal")
    _, found = deleter.measure([{0}, {2, 5}, set(), {0, 1}])
    for deleted, value in zip(({0}, {2, 5}, set(), {0, 1}), found, strict=True):
        ids = [t for i, t in enumerate(PROMPT) if i not in deleted]
        logits = lm.model(input_ids=torch.tensor([ids])).logits[0, -1].double()
        torch.testing.assert_close(value, logits.log_softmax(-1)[TARGETS], rtol=1e-6, atol=1e-7)


def test_deletion_by_a_token_puts_it_there() -> None:
    lm = llama()
    logits, _ = Deleter(lm, PROMPT, TARGETS, 11).measure([{4}])
    ids = [*PROMPT[:4], 11, *PROMPT[5:]]
    expected = lm.model(input_ids=torch.tensor([ids])).logits[0, -1].double()[TARGETS]
    torch.testing.assert_close(logits[0], expected, rtol=1e-6, atol=1e-7)


def test_chunks_change_nothing_and_a_set_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = llama()
    whole = Deleter(lm, PROMPT, TARGETS).leave_one_out()
    small = Deleter(lm, PROMPT, TARGETS, memory_budget=1)
    for a, b in zip(small.leave_one_out(), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    rows: list[int] = []
    run = Deleter._logits

    def counted(self: Deleter, v: torch.Tensor) -> torch.Tensor:
        rows.append(len(v))
        return run(self, v)

    monkeypatch.setattr(Deleter, "_logits", counted)
    again, _ = small.measure([{1}, {1}, {2, 3}, {3, 2}])
    assert sum(rows) == 1, "only {2, 3} is new"
    torch.testing.assert_close(again[0], again[1])


def test_what_cannot_be_deleted_is_refused_by_a_sentence() -> None:
    lm = llama()
    with pytest.raises(eq.EqlinError, match=r"positions 0 to 10; \[11\] are not all among them"):
        Deleter(lm, PROMPT, TARGETS).measure([{11}])
    with pytest.raises(eq.EqlinError, match="no prompt left"):
        Deleter(lm, PROMPT, TARGETS, "removal").measure([set(range(len(PROMPT)))])
    with pytest.raises(eq.EqlinError, match="no tokenizer"):
        Deleter(lm, PROMPT, TARGETS, "the")
    with pytest.raises(eq.EqlinError, match="outside this model's vocabulary"):
        Deleter(lm, PROMPT, TARGETS, 10**9)
    assert [len(part) for part in Deleter(lm, PROMPT, TARGETS).measure([])] == [0, 0]


# ---- baselines -------------------------------------------------------------------------------------------------------


def test_the_mean_embedding_is_where_embeddings_stand_scaled_and_all() -> None:
    lm = family("gemma3")  # whose embeddings are scaled
    expected = lm.model.get_input_embeddings()(torch.arange(lm.input_embeddings.shape[0])).double().mean(0)
    torch.testing.assert_close(mean_embedding(lm).double(), expected, rtol=1e-6, atol=1e-9)
    assert not torch.allclose(mean_embedding(lm), lm.input_embeddings.mean(0))


def test_the_mean_follows_weights_that_change() -> None:
    from tests.cases import tiny_model

    lm = tiny_model("llama")
    before = mean_embedding(lm).clone()
    with torch.no_grad():
        lm.model.get_input_embeddings().weight.mul_(2)
    torch.testing.assert_close(mean_embedding(lm), 2 * before)


def test_baselines_by_name_id_and_text() -> None:
    lm = default_model("float32")
    assert not baseline_embedding(lm, "zero").any()
    the = token_id(lm, " the")
    torch.testing.assert_close(baseline_embedding(lm, " the"), lm.input_embeddings[the])
    torch.testing.assert_close(baseline_embedding(lm, the), lm.input_embeddings[the])
    with pytest.raises(eq.EqlinError, match="is not a single token of smollm2-135m"):
        baseline_embedding(lm, "two words")


def test_a_begin_of_text_token_is_put_there_once() -> None:
    lm = default_model("float32")
    begin = begin_token(lm)
    assert begin is not None
    assert with_begin(lm, [5, 6]) == [begin, 5, 6]
    assert with_begin(lm, [begin, 5]) == [begin, 5]
