"""How far the frozen map reaches, and what a swapped token changes: parts that sum, against the model itself."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import eqlin_core as eq
from eqlin_core.attribution.validity import counterfactual, validity
from eqlin_core.audit.families import tiny_model
from eqlin_core.errors import Cancelled
from eqlin_core.models.readout import next_token_logits
from tests.cases import MARIN, PROMPT, default_model, family, llama

FAMILIES = ["llama", "gpt2", "gemma2", "mixtral"]
OTHER = 40
STOCK: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}  # whose norms go through float32


@torch.no_grad()
def model_output(lm: eq.LanguageModel, rows: torch.Tensor) -> torch.Tensor:
    lm.model.set_experts_implementation("eager")
    out: torch.Tensor = lm.decoder(inputs_embeds=rows[None], use_cache=False).last_hidden_state[0, -1]
    return out


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_the_map_and_the_model_at_every_fraction(name: str) -> None:
    lm, position = family(name), 2
    lin = eq.linearize(lm, token_ids=PROMPT)
    found = validity(lin, position, OTHER, points=3)
    x = lm.model.get_input_embeddings()(torch.tensor([OTHER]))[0].detach()
    assert found.fractions.tolist() == [0.0, 0.5, 1.0]
    top = int(next_token_logits(lm, model_output(lm, lin.inputs)[None]).argmax())
    w = lm.unembedding[top]
    for n, t in enumerate((0.0, 0.5, 1.0)):
        rows = lin.inputs.clone()
        rows[position] += t * (x - lin.inputs[position])
        y = model_output(lm, rows)
        v = torch.zeros_like(rows)
        v[position] = t * (x - lin.inputs[position])
        frozen = lin.output + lin.apply(v)
        torch.testing.assert_close(found.parts[0, n], w @ lin.apply(v), rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(found.parts[:, n].sum(), w @ (y - lin.output), **STOCK)
        logs = [next_token_logits(lm, one[None])[0].double().log_softmax(-1) for one in (y, frozen)]
        kl = (logs[0].exp() * (logs[0] - logs[1])).sum()
        torch.testing.assert_close(found.divergence[n], kl, rtol=1e-3, atol=1e-6)
        assert int(found.model_top[n]) == int(logs[0].argmax())
        assert int(found.frozen_top[n]) == int(logs[1].argmax())
        if t:
            share = (y - frozen).norm() / (y - model_output(lm, lin.inputs)).norm()
            torch.testing.assert_close(found.hidden[n], share, rtol=1e-3, atol=1e-5)
    assert math.isnan(found.hidden[0])
    torch.testing.assert_close(found.length, float((x - lin.inputs[position]).norm() / lin.inputs[position].norm()))


def test_the_radius_is_where_the_likeliest_tokens_part() -> None:
    lm = default_model("float32")
    lin = eq.linearize(lm, MARIN)
    found = validity(lin, 4, " Paris", points=9)
    assert found.agrees[0]
    assert 0 < found.radius <= 1
    before, after = (
        int((found.fractions < found.radius).sum()) - 1,
        int((found.fractions >= found.radius).nonzero()[0]),
    )
    assert found.agrees[: before + 1].all()
    assert not found.agrees[after]
    rows = [lin.inputs.clone() for _ in range(2)]
    (other,) = lm.encode(" Paris")[-1:]
    way = lm.model.get_input_embeddings()(torch.tensor([other]))[0].detach() - lin.inputs[4]
    for row, t in zip(rows, (found.radius - 2e-3, found.radius), strict=True):
        row[4] += t * way
    tops = []
    for row in rows:
        frozen = lin.output + lin.apply(row - lin.inputs)
        tops.append([int(next_token_logits(lm, y[None]).argmax()) for y in (frozen, model_output(lm, row))])
    assert tops[0][0] == tops[0][1], "just before they agree"
    assert tops[1][0] != tops[1][1]


def test_where_it_never_parts_the_radius_is_infinite() -> None:
    lm = llama()
    lin = eq.linearize(lm, token_ids=PROMPT)
    tiny = torch.zeros(lin.width, dtype=torch.float64)
    tiny[0] = 1.0
    found = validity(lin, 0, tiny, points=2)
    assert found.length == pytest.approx(1.0)
    assert found.towards == "a direction"
    assert found.radius == math.inf or 0 < found.radius <= 1
    lin_of_one = eq.linearize(lm, token_ids=[5])
    near = validity(lin_of_one, 0, lin_of_one.inputs[0], points=3)  # the same direction, twice as long: norms hold it
    assert near.parts.shape == (4, 3)


def test_numbers_that_overflow_agree_about_nothing() -> None:
    lm = tiny_model("llama", dtype=torch.float16)
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[OTHER] = torch.inf
    with pytest.raises(eq.EqlinError, match="Numbers overflow in float16 on the way"):
        validity(eq.linearize(lm, token_ids=PROMPT), 0, OTHER, points=2)


def test_it_can_be_left() -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT)
    with pytest.raises(Cancelled):
        validity(lin, 0, OTHER, progress=lambda *_: False)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_counterfactual_s_parts_sum_to_what_the_model_does(name: str) -> None:
    lm = family(name)
    other = list(PROMPT)
    other[1], other[4] = OTHER, 7 if PROMPT[4] != 7 else 8
    lin = eq.linearize(lm, token_ids=PROMPT)
    w = torch.randn(2, lin.width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = counterfactual(lin, other, w)
    assert found.positions == [1, 4]
    torch.testing.assert_close(found.map.sum(-1) + found.attention + found.norms + found.gates, found.measured)
    inputs = lm.model.get_input_embeddings()(torch.tensor(other)).detach()
    torch.testing.assert_close(found.measured, w @ (model_output(lm, inputs) - lin.output), **STOCK)
    for n, i in enumerate(found.positions):
        v = torch.zeros_like(lin.inputs)
        v[i] = inputs[i] - lin.inputs[i]
        torch.testing.assert_close(found.map[:, n], w @ lin.apply(v), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(found.after - found.before, found.measured)
    torch.testing.assert_close(found.before, w @ lin.output)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda lin: validity(lin, 99, OTHER), "Position 99 does not exist"),
        (lambda lin: validity(lin, 0, PROMPT[0]), "already: choose another"),
        (lambda lin: validity(lin, 0, torch.zeros(32, dtype=torch.float64)), "leads nowhere"),
        (lambda lin: validity(lin, 0, torch.zeros(3, dtype=torch.float64)), r"towards is a tensor \[32\]"),
        (lambda lin: validity(lin, 0, OTHER, points=1), "points is a whole number from 2 to 1000"),
        (lambda lin: counterfactual(lin, PROMPT[:3], lin.output[None]), "has 3 tokens, this one 11"),
        (lambda lin: counterfactual(lin, list(PROMPT), lin.output[None]), "the same tokens"),
    ],
)
def test_what_leads_nowhere_is_refused_in_a_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(eq.EqlinError, match=sentence):
        call(eq.linearize(llama(), token_ids=PROMPT))


def test_a_map_of_an_inner_place_is_refused() -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT, target=eq.Site(1, "layer"))
    with pytest.raises(eq.EqlinError, match="from the embeddings to the output"):
        validity(lin, 0, OTHER)
