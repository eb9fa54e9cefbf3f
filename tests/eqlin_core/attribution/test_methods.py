"""Ways to score tokens: exact splits sum to their target, the others agree with the reference implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import eqlin_core as eq
from eqlin_core.attribution.methods import (
    Explained,
    attention_rollout,
    input_times_gradient,
    integrated_gradients,
    last_attention,
    random_scores,
    split_method,
)
from eqlin_core.maps.targets import direction
from eqlin_core.models.baselines import baseline_embedding
from eqlin_core.runs.convention import Convention
from eqlin_core.runs.split import TARGET_KINDS, Split
from tests.cases import PROMPT, default_model, llama, tiny_model

BASELINES = ("zero", "mean")
both = pytest.mark.parametrize("target", TARGET_KINDS)
either = pytest.mark.parametrize("baseline", BASELINES)


@pytest.fixture(scope="module")
def prompt() -> Explained:
    return Explained(llama(), list(PROMPT))


@both
@either
@pytest.mark.parametrize("dials", [Convention(), Convention("half", "half")], ids=lambda d: d.words)
def test_an_exact_split_sums_to_its_target(prompt: Explained, target: Any, baseline: str, dials: Convention) -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT, **dials.keywords)
    w = direction(lin, prompt.token, target)
    terms, constant = lin.logit_split(w[None], baseline)
    torch.testing.assert_close(terms.sum(-1) + constant, w[None] @ lin.output, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(split_method(Split(target, baseline, dials)).score(prompt), terms[0])
    parts, bias = lin.against(baseline)
    torch.testing.assert_close(parts @ w, terms[0], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(parts.sum(0) + bias, lin.output, rtol=1e-12, atol=1e-12)


def test_a_log_probability_is_its_logit_less_the_mean_of_all_and_its_gradient(prompt: Explained) -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT)
    logits = (lin.lm.unembedding @ lin.output).double()
    p = logits.softmax(-1)
    w = direction(lin, prompt.token, "log-probability")
    torch.testing.assert_close(w @ lin.output, logits[prompt.token] - p @ logits, rtol=1e-6, atol=1e-7)
    y = lin.output.clone().requires_grad_()
    (lin.lm.unembedding @ y).log_softmax(-1)[prompt.token].backward()
    torch.testing.assert_close(w, y.grad, rtol=1e-6, atol=1e-7)


def test_sets_and_contrasts_of_tokens() -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT)
    W, logits = lin.lm.unembedding, lin.lm.unembedding @ lin.output
    torch.testing.assert_close(direction(lin, 5, versus=9), W[5] - W[9])
    torch.testing.assert_close(direction(lin, 5, "log-probability", versus=9), W[5] - W[9])
    y = lin.output.clone().requires_grad_()
    (W @ y).log_softmax(-1)[[5, 9, 12]].logsumexp(0).backward()
    assert y.grad is not None
    torch.testing.assert_close(direction(lin, [5, 9, 12], "log-probability"), y.grad, rtol=1e-6, atol=1e-7)
    assert float(direction(lin, [5]) @ lin.output) == pytest.approx(float(logits[5]))
    with pytest.raises(eq.EqlinError, match="at least one token"):
        direction(lin, [])


def test_the_split_takes_tokens_by_text_and_id() -> None:
    lm = default_model("float32")
    lin = eq.linearize(lm, "The capital of France is")
    (paris,) = lm.tokenizer(" Paris")["input_ids"]  # type: ignore[misc]
    by_text, by_id, by_row = (
        lin.logit_split(" Paris"),
        lin.logit_split([paris]),
        lin.logit_split(lm.unembedding[[paris]]),
    )
    for terms, constant in (by_id, by_row):
        torch.testing.assert_close(terms, by_text[0])
        torch.testing.assert_close(constant, by_text[1])
    assert float(by_text[0].sum() + by_text[1]) == pytest.approx(17.37, abs=0.01)
    with pytest.raises(eq.EqlinError, match=r"A baseline is a tensor \[576\] \(one vector\)"):
        lin.logit_split(" Paris", torch.zeros(3))


class _Target(torch.nn.Module):
    """The model as a function of embeddings, for the reference implementation."""

    def __init__(self, prompt: Explained, kind: str) -> None:
        super().__init__()
        self.prompt, self.kind = prompt, kind

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        logits = self.prompt.lm.model(inputs_embeds=rows, use_cache=False).logits[:, -1]
        return (logits if self.kind == "logit" else logits.log_softmax(-1))[:, self.prompt.token]


@both
@either
@pytest.mark.filterwarnings("ignore")
def test_gradients_are_those_of_the_reference_implementation(prompt: Explained, target: Any, baseline: str) -> None:
    from captum.attr import InputXGradient, IntegratedGradients

    model, x = _Target(prompt, target), prompt.inputs[None].clone()
    m = baseline_embedding(prompt.lm, baseline).expand_as(x)
    reference = IntegratedGradients(model, multiply_by_inputs=True)
    expected = reference.attribute(x, baselines=m, n_steps=12, method="gausslegendre").sum(-1)[0]
    found = integrated_gradients(target, baseline, steps=12).score(prompt)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    if baseline == "zero":
        expected = InputXGradient(model).attribute(x.requires_grad_()).sum(-1)[0].detach()
        torch.testing.assert_close(input_times_gradient(target).score(prompt), expected, rtol=1e-6, atol=1e-8)


def test_integrated_gradients_sum_to_the_change_of_the_target_in_the_limit(prompt: Explained) -> None:
    model = _Target(prompt, "log-probability")
    start = baseline_embedding(prompt.lm, "mean").expand_as(prompt.inputs)
    with torch.no_grad():
        change = float(model(prompt.inputs[None]) - model(start[None]))
    few, many = (float(integrated_gradients("log-probability", "mean", n).score(prompt).sum()) for n in (2, 256))
    assert abs(many - change) < 0.01 < abs(few - change)


def test_attention_and_its_rollout_are_distributions(prompt: Explained) -> None:
    stock_model = tiny_model("llama").model  # transformers leaves hooks behind on a model that it takes these from
    stock_model.set_attn_implementation("eager")
    with torch.no_grad():
        stock = stock_model(torch.tensor([list(PROMPT)]), output_attentions=True).attentions
    torch.testing.assert_close(last_attention().score(prompt), stock[-1][0].mean(0)[-1], rtol=1e-5, atol=1e-6)
    rolled = torch.eye(len(PROMPT), dtype=torch.float64)
    for layer in stock:
        rolled = (layer[0].mean(0) / 2 + torch.eye(len(PROMPT)) / 2).double() @ rolled
    torch.testing.assert_close(attention_rollout().score(prompt).double(), rolled[-1], rtol=1e-5, atol=1e-6)


def test_chance_is_another_draw_for_every_prompt_and_the_same_for_one(prompt: Explained) -> None:
    other = Explained(llama(), list(PROMPT[::-1]))
    assert torch.equal(random_scores().score(prompt), random_scores().score(prompt))
    assert not torch.equal(random_scores().score(prompt), random_scores().score(other))
