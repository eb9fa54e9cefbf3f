"""Steered generation: the reference algorithm number for number, cached or not, in a batch or alone."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

import eqlin_core as eq
from eqlin_core.audit.families import FAMILIES, tiny_model, tiny_prompt
from eqlin_core.steering.operators import SteeringOperator, steering_operator
from eqlin_core.steering.steer import steer, steering_sweep
from tests.cases import family as shared_family
from tests.eqlin_core.steering.steering_cases import PROMPT, STRENGTHS, blocks, lm, operator, slow_steering

STEPS = 10


def close(value: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("final_norm", [True, False])
@pytest.mark.parametrize("strength", [0.4, 0.8, 3.0])
def test_steering_is_the_reference_algorithm(strength: float, final_norm: bool) -> None:
    op = operator(final_norm=final_norm)
    ids, logits = slow_steering(lm(), PROMPT, op.J, strength, STEPS, block=1)
    made = steer(lm(), token_ids=PROMPT, operator=op, strength=strength, max_new_tokens=STEPS)
    assert made.token_ids == ids
    assert made.logits.shape == (STEPS, 64)
    close(made.logits, logits)


def test_the_map_is_that_of_the_first_blocks_through_the_final_norm() -> None:
    op = operator(layers=2)
    expected = eq.linearize(lm(), token_ids=list(op.token_ids), target=eq.Site(1, "layer"), final_norm=True)
    torch.testing.assert_close(op.J, expected.jacobian(), rtol=0, atol=0)
    assert (op.layers, op.block, op.final_norm) == (2, 1, True)


def test_the_interpolation_is_equation_16() -> None:
    op = operator(final_norm=False)
    ids, logits = slow_steering(lm(), PROMPT, op.J, 0.7, STEPS, block=1, form="interpolation")
    made = steer(lm(), token_ids=PROMPT, operator=op, strength=0.7, max_new_tokens=STEPS, form="interpolation")
    assert made.token_ids == ids
    close(made.logits, logits)


@pytest.mark.parametrize("how", ["operator", "call"])
def test_the_block_can_be_set_apart_from_the_depth(how: str) -> None:
    op = operator(layers=1, block=2) if how == "operator" else operator(layers=1)
    ids, logits = slow_steering(lm(), PROMPT, op.J, 0.8, STEPS, block=2)
    block = None if how == "operator" else 2
    made = steer(lm(), token_ids=PROMPT, operator=op, strength=0.8, max_new_tokens=STEPS, block=block)
    assert made.token_ids == ids
    close(made.logits, logits)


@pytest.mark.parametrize("form", ["reference", "interpolation"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_steered_alike(family: str, form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if family == "gemma2":  # its eager attention rounds the softmax to float32, with and without a cache
        monkeypatch.setattr(torch.nn.functional, "softmax", lambda x, dim, dtype=None: x.softmax(dim))
    model, ids = shared_family(family), tiny_prompt()
    op = family_operator(family, token_ids=(9, 4, 31, 7))
    expected, logits = slow_steering(model, ids, op.J, 0.8, 6, block=1, form=form)
    made = steer(model, token_ids=ids, operator=op, strength=0.8, max_new_tokens=6, form=form)
    assert made.token_ids == expected
    assert made.logits.dtype == torch.float64
    close(made.logits, logits)
    plain = steer(model, token_ids=ids, max_new_tokens=6)
    assert float((made.logits[0] - plain.logits[0]).abs().max()) > 1e-3, "the push moves the model"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_concept_of_one_token_steers_every_family(family: str) -> None:
    model, ids = shared_family(family), tiny_prompt(1)
    op = family_operator(family, token_ids=(9,))
    _, logits = slow_steering(model, ids, op.J, 0.8, 1, block=1)
    close(steer(model, token_ids=ids, operator=op, strength=0.8, max_new_tokens=1).logits, logits)


@functools.cache
def family_operator(family: str, token_ids: tuple[int, ...]) -> SteeringOperator:
    return steering_operator(shared_family(family), token_ids=token_ids, layers=2)


def test_every_row_of_a_sweep_is_a_single_run() -> None:
    sweep = steering_sweep(lm(), token_ids=PROMPT, operator=operator(), strengths=STRENGTHS, max_new_tokens=STEPS)
    assert sweep.strengths == STRENGTHS
    for made, strength in zip(sweep, STRENGTHS, strict=True):
        alone = steer(lm(), token_ids=PROMPT, operator=operator(), strength=strength, max_new_tokens=STEPS)
        assert made.token_ids == alone.token_ids
        assert made.text == alone.text
        close(made.logits, alone.logits)
    assert len({tuple(made.token_ids) for made in sweep}) > 2, "the strengths make no difference"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_strength_zero_is_bit_equal_to_plain_generation(dtype: torch.dtype) -> None:
    model = tiny_model("llama", dtype)
    op = steering_operator(model, token_ids=[9, 4, 31], layers=2)
    plain = steer(model, token_ids=PROMPT, max_new_tokens=STEPS)
    zero = steer(model, token_ids=PROMPT, operator=op, strength=0.0, max_new_tokens=STEPS)
    assert zero.token_ids == plain.token_ids
    assert torch.equal(zero.logits, plain.logits)
    whole = steer(model, token_ids=PROMPT, operator=op, strength=1, max_new_tokens=STEPS, form="interpolation")
    assert torch.equal(whole.logits, plain.logits)


def test_plain_generation_is_the_models_own() -> None:
    plain = steer(lm(), token_ids=PROMPT, max_new_tokens=STEPS)
    own = lm().model.generate(
        torch.tensor([PROMPT]), max_new_tokens=STEPS, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert plain.token_ids == own[0, len(PROMPT) :].tolist()


def test_an_operator_that_writes_nothing_changes_nothing() -> None:
    from dataclasses import replace

    silent = replace(operator(), J=torch.zeros_like(operator().J))
    plain = steer(lm(), token_ids=PROMPT, max_new_tokens=4)
    made = steer(lm(), token_ids=PROMPT, operator=silent, strength=1.0, max_new_tokens=4)
    assert torch.equal(made.logits, plain.logits)


def test_two_operators_add_their_pushes_and_zero_leaves_one_out() -> None:
    first, second = operator(), operator(final_norm=False)
    both = steer(lm(), token_ids=PROMPT, operator=[first, second], strength=[0.8, 0.0], max_new_tokens=STEPS)
    alone = steer(lm(), token_ids=PROMPT, operator=first, strength=0.8, max_new_tokens=STEPS)
    close(both.logits, alone.logits)
    twice = steer(lm(), token_ids=PROMPT, operator=[first, first], strength=[0.3, 0.5], max_new_tokens=STEPS)
    close(twice.logits, alone.logits)
    assert twice.strength == (0.3, 0.5)


def hook_count(model: eq.LanguageModel) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.model.modules())


def test_cancellation_between_tokens_leaves_no_hook_and_the_same_model() -> None:
    before = steer(lm(), token_ids=PROMPT, max_new_tokens=3)
    seen: list[str] = []

    def stop(text: str, ids: list[int]) -> None:
        seen.append(text)
        if len(ids) == 2:
            raise eq.Cancelled

    with pytest.raises(eq.Cancelled):
        steer(lm(), token_ids=PROMPT, operator=operator(), strength=1.0, on_token=stop)
    assert len(seen) == 2
    with pytest.raises(eq.Cancelled):
        steer(lm(), token_ids=PROMPT, operator=operator(), strength=1.0, progress=lambda part, _: part < 0.1)
    assert hook_count(lm()) == 0
    assert torch.equal(steer(lm(), token_ids=PROMPT, max_new_tokens=3).logits, before.logits)


def test_an_error_inside_the_model_leaves_no_hook() -> None:
    model = tiny_model("llama")
    op = steering_operator(model, token_ids=[9, 4, 31], layers=2)

    def burst(*_: Any) -> None:
        raise ZeroDivisionError

    handle = blocks(model)[2].register_forward_hook(burst)
    with pytest.raises(ZeroDivisionError):
        steer(model, token_ids=PROMPT, operator=op, strength=1.0)
    handle.remove()
    assert hook_count(model) == 0


def test_progress_counts_the_tokens() -> None:
    seen: list[tuple[float, str]] = []
    steer(lm(), token_ids=PROMPT, max_new_tokens=4, progress=lambda part, message: seen.append((part, message)))
    assert [part for part, _ in seen] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert seen[1][1] == "Token 2 of 4"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": float("nan")}, "A strength is a number"),
        ({"strength": float("inf")}, "A strength is a number"),
        ({"strength": -0.5}, "The strength -0.5 is negative"),
        ({"strength": 1e9}, "beyond 100"),
        ({"strength": [0.1, 0.2]}, "1 operators need 1 strengths"),
        ({"block": 3}, "Block 3 does not exist: this model has blocks 0 to 2"),
        ({"strength": True}, "A strength is a number"),
        ({"max_new_tokens": 0}, "whole number from 1 on"),
        ({"max_new_tokens": 60}, "The prompt of 11 tokens with 60 new ones is longer than the 64"),
        ({"token_ids": [1] * 65}, "reads at most 64|longer than the 64"),
        ({"token_ids": []}, "no tokens"),
        ({"token_ids": [999]}, "outside this model's vocabulary"),
        ({"temperature": -1.0}, "temperature is a number at least 0, not -1.0"),
        ({"top_p": 0.0}, "top_p is a number above 0 and at most 1, not 0.0"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"token_ids": PROMPT, "operator": operator(), "strength": 1.0} | options
    with pytest.raises(eq.EqlinError, match=message):
        steer(lm(), **arguments)


def test_a_form_that_does_not_exist_and_one_that_does_not_combine_are_refused() -> None:
    two = {"operator": [operator(), operator()], "strength": [1.0, 1.0]}
    with pytest.raises(eq.EqlinError, match="reference form only"):
        steer(lm(), token_ids=PROMPT, form="interpolation", **two)  # type: ignore[arg-type]
    with pytest.raises(eq.EqlinError, match="no tokenizer"):
        steer(lm(), "a prompt", operator=operator())
    with pytest.raises(eq.EqlinError, match="at least one strength"):
        steering_sweep(lm(), token_ids=PROMPT, operator=operator(), strengths=[])
