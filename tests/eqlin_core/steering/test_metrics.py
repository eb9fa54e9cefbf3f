"""The numbers about steering: metrics, forecast, flip strength, and how tokens are drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from eqlin_core.steering.flips import flip_strength
from eqlin_core.steering.forecast import steering_forecast
from eqlin_core.steering.generation import Sampling, Settings, generate_rows
from eqlin_core.steering.metrics import (
    concept_continuation,
    steered_logits,
    steering_metrics,
    word_log_probabilities,
)
from eqlin_core.steering.operators import random_operator
from eqlin_core.steering.steer import steer, steering_sweep
from tests.eqlin_core.steering.steering_cases import CONCEPT, PROMPT, STRENGTHS, lm, operator

SAID = [7, 8, 20]


def test_metrics_are_those_of_their_definitions() -> None:
    sweep = steering_sweep(lm(), token_ids=PROMPT, operator=operator(), strengths=STRENGTHS, max_new_tokens=6)
    metrics = steering_metrics(lm(), sweep.generations, operator(), SAID)
    own = lm().model(input_ids=torch.tensor([PROMPT])).logits[0, -1].log_softmax(-1)
    for i, made in enumerate(sweep):
        # The continuation's log-probability: each token from a steered pass of its own.
        said = 0.0
        for step, token in enumerate(SAID):
            (row,) = steered_logits(lm(), [[*PROMPT, *SAID[:step]]], 1, operator(), [STRENGTHS[i]])
            said += float(row[-1].log_softmax(-1)[token]) / len(SAID)
        assert float(metrics.concept[i]) == pytest.approx(said, abs=1e-9)
        steered = made.logits[0].log_softmax(-1)
        assert float(metrics.divergence[i]) == pytest.approx(float((steered.exp() * (steered - own)).sum()), abs=1e-9)
        whole = lm().model(input_ids=torch.tensor([[*PROMPT, *made.token_ids]])).logits[0].log_softmax(-1)
        nll = [-float(whole[len(PROMPT) - 1 + j, t]) for j, t in enumerate(made.token_ids)]
        assert float(metrics.perplexity[i]) == pytest.approx(math.exp(np.mean(nll)), rel=1e-9)
    assert float(metrics.divergence[0]) == 0.0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("form", "rest"), [("reference", 0.0), ("interpolation", 1.0)])
def test_the_unsteered_row_of_a_batch_is_plain_and_nothing_diverges_there(
    dtype: torch.dtype, form: Any, rest: float
) -> None:
    model = tiny_model("llama", dtype)
    options: dict[str, Any] = {"token_ids": PROMPT, "operator": operator(), "max_new_tokens": 6, "form": form}
    sweep = steering_sweep(model, strengths=[0.3, rest, 0.8], **options)
    _, plain = generate_rows(model, PROMPT, 3, Settings(6, stop=False))
    assert torch.equal(sweep[1].logits, plain[1]), "bit for bit, in a batch of the same shape"
    metrics = steering_metrics(model, sweep.generations, operator(), SAID, form=form)
    assert float(metrics.divergence[1]) == 0.0
    others = steering_metrics(model, [sweep[0], sweep[2]], operator(), SAID, form=form)
    torch.testing.assert_close(others.divergence, metrics.divergence[[0, 2]], rtol=1e-4, atol=1e-9)
    assert float(others.divergence.min()) > 1e-4


def test_words_of_one_token_and_of_more_have_the_mean_log_probability_of_their_tokens() -> None:
    values = word_log_probabilities(lm(), PROMPT, [[7], SAID, [8]], operator(), STRENGTHS)
    for word, row in zip(([7], SAID, [8]), values, strict=True):
        for strength, value in zip(STRENGTHS, row.tolist(), strict=True):
            (logits,) = steered_logits(lm(), [[*PROMPT, *word]], len(word) + 1, operator(), [strength])
            log_p = logits[:-1].log_softmax(-1)
            said = sum(float(log_p[i, token]) for i, token in enumerate(word)) / len(word)
            assert value == pytest.approx(said, abs=1e-9)
    with pytest.raises(eq.EqlinError, match="at least one token"):
        word_log_probabilities(lm(), PROMPT, [[7], []], operator(), STRENGTHS)
    assert word_log_probabilities(lm(), PROMPT, [], operator(), STRENGTHS).shape == (0, len(STRENGTHS))


def test_the_concepts_continuation_is_greedy_and_unsteered() -> None:
    assert concept_continuation(lm(), operator(), 4) == steer(lm(), token_ids=CONCEPT, max_new_tokens=4).token_ids


def test_metrics_of_nothing_are_refused() -> None:
    with pytest.raises(eq.EqlinError, match="at least one generation"):
        steering_metrics(lm(), [], operator(), SAID)


def forecast(strengths: list[float], form: str = "reference"):
    tokens = [winner(0.0), 5]
    return steering_forecast(lm(), PROMPT, operator(), strengths, tokens, form=form)  # type: ignore[arg-type]


def test_reality_is_what_steered_passes_give() -> None:
    found = forecast([0.0, 0.5, 1.0])
    logits = steered_logits(lm(), [PROMPT] * 3, 1, operator(), [0.0, 0.5, 1.0])[:, -1]
    centred = logits - logits.mean(-1, keepdim=True)
    torch.testing.assert_close(found.real, centred[:, found.token_ids], rtol=0, atol=1e-6)


def test_the_derivative_becomes_right_as_the_strength_goes_to_zero() -> None:
    found = forecast([0.0, 0.02, 0.04, 2.0])
    assert found.tangent_error[0] == found.frozen_error[0] == 0
    assert 0 < found.tangent_error[1] < 0.05
    assert float(found.tangent_error[2] / found.tangent_error[1]) == pytest.approx(2.0, rel=0.15), "quadratic"
    assert found.tangent_error[3] > found.tangent_error[2]
    assert 0.04 <= found.linear_until(0.25) <= 2.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_derivative_is_no_rounding_noise_in_half_precision(dtype: torch.dtype) -> None:
    steps = []
    for precision in (torch.float64, dtype):
        model = tiny_model("llama", precision)
        concept = eq.steering_operator(model, token_ids=CONCEPT, layers=2)
        found = steering_forecast(model, PROMPT, concept, [0.0, 1.0], list(range(3, 40)))
        steps.append((found.tangent[1] - found.tangent[0]).double())
    assert float((steps[1] - steps[0]).norm() / steps[0].norm()) < 0.15


def test_the_frozen_map_forecasts_its_own_network_exactly() -> None:
    # Injected at the last block of a map that is frozen there, y + s sum K delta: linear in the strength by definition.
    found = forecast([0.0, 1.0, 2.0])
    step = found.frozen[1] - found.frozen[0]
    torch.testing.assert_close(found.frozen[2] - found.frozen[0], 2 * step, rtol=1e-9, atol=1e-12)
    assert float(step.abs().max()) > 0.01


def test_the_interpolation_is_forecast_from_strength_one() -> None:
    found = forecast([1.0, 0.98, 0.5], form="interpolation")
    assert found.tangent_error[0] == 0
    assert found.tangent_error[1] < 0.2 * found.tangent_error[2] + 0.05


def winner(strength: float) -> int:
    return int(steered_logits(lm(), [PROMPT], 1, operator(), [strength])[0, -1].argmax())


def test_the_flip_strength_is_where_the_next_token_changes() -> None:
    other = next(t for s in np.linspace(0, 4, 81) if (t := winner(float(s))) != winner(0.0))
    flip = flip_strength(lm(), token_ids=PROMPT, operator=operator(), token=other, maximum=4.0, tolerance=1e-4)
    assert flip.strength is not None
    assert flip.below is not None
    assert flip.strength - flip.below <= 1e-4
    assert winner(flip.strength) == other != winner(flip.below)
    assert flip.sentence.startswith(f"The next token becomes '<{other}>' at strength {flip.strength:.3f}")


def test_a_flip_that_does_not_happen_or_need_not_says_so() -> None:
    own = winner(0.0)
    assert flip_strength(lm(), token_ids=PROMPT, operator=operator(), token=own).strength == 0.0
    seen = {winner(float(s)) for s in np.linspace(0, 1, 41)}
    never = next(t for t in range(64) if t not in seen)
    flip = flip_strength(lm(), token_ids=PROMPT, operator=operator(), token=never, maximum=1.0)
    assert flip.strength is None
    assert flip.sentence == f"The next token does not become '<{never}>' within [0, 1]."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token": 64}, "Token id 64 is outside"),
        ({"token": "word"}, "give the token's id"),
        ({"maximum": float("nan")}, "maximum is a number above 0 and at most 100, not nan"),
        ({"maximum": 0.0}, "maximum is a number above 0"),
        ({"tolerance": 0.0}, "tolerance is a number above 0, not 0.0"),
        ({"operator": None}, "needs an operator"),
    ],
)
def test_bad_questions_for_a_flip_are_refused(options: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"token_ids": PROMPT, "operator": operator(), "token": 5} | options
    with pytest.raises(eq.EqlinError, match=message):
        flip_strength(lm(), **arguments)  # type: ignore[arg-type]


def test_sampling_follows_its_seed_and_a_batch_draws_what_a_single_run_draws() -> None:
    options = {"token_ids": PROMPT, "operator": operator(), "max_new_tokens": 8, "temperature": 1.5}
    sweep = steering_sweep(lm(), strengths=[0.0, 0.7], seed=4, **options)  # type: ignore[arg-type]
    alone = steer(lm(), strength=0.7, seed=4, **options)  # type: ignore[arg-type]
    assert sweep[1].token_ids == alone.token_ids
    assert steer(lm(), strength=0.7, seed=5, **options).token_ids != alone.token_ids  # type: ignore[arg-type]


def test_a_nucleus_keeps_the_fewest_tokens_that_reach_top_p() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64).log()
    for top_p, expected in ((0.5, {0}), (0.6, {0, 1}), (0.75, {0, 1}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3})):
        draw = Sampling(1.0, top_p, seed=1).chooser()
        assert {int(draw(logits)[0]) for _ in range(300)} == expected
    draw = Sampling(1.0, 1.0, seed=1).chooser()
    share = np.mean([int(draw(logits)[0]) == 0 for _ in range(2000)])
    assert share == pytest.approx(0.5, abs=0.04)


def test_a_random_push_of_equal_size_says_the_concept_less_than_some_operator() -> None:
    sweep = steering_sweep(lm(), token_ids=PROMPT, operator=operator(), strengths=[1.0], max_new_tokens=4)
    control = random_operator(operator())
    turned = steering_sweep(lm(), token_ids=PROMPT, operator=control, strengths=[1.0], max_new_tokens=4)
    assert sweep[0].token_ids != turned[0].token_ids
