"""A fit: what it averages with which weight, what it counts, when it stops, and that the model is left as it was."""

from __future__ import annotations

import pytest
import torch

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from eqlin_core.lenses.moments import Moments
from tests.cases import relative
from tests.eqlin_core.freezing.test_network import hooks
from tests.eqlin_core.lenses.lens_cases import PROMPTS, SKIP, fitted, shared


def alone(ids: list[int], kind: str = "jacobian") -> torch.Tensor:
    return eq.fit_lens(shared(), [ids], kind, skip=SKIP).matrices


def test_every_prompt_has_the_same_weight_and_the_spread_is_around_their_mean() -> None:
    lens, parts = fitted(), torch.stack([alone(ids) for ids in PROMPTS]).double()
    assert relative(lens.matrices, parts.mean(0)) < 1e-6
    away = (parts - parts.mean(0)).square().sum((-1, -2))
    expected = away.mean(0) / parts.mean(0).square().sum((-1, -2))
    torch.testing.assert_close(lens.spread, expected, rtol=1e-5, atol=0)
    assert lens.spread.min() > 1e-3
    assert fitted().source_positions == sum(len(ids) - SKIP - 1 for ids in PROMPTS)


def test_the_convergence_is_the_relative_change_of_the_mean() -> None:
    lens, parts = fitted(), torch.stack([alone(ids) for ids in PROMPTS]).double()
    means = [parts[: n + 1].mean(0) for n in range(len(PROMPTS))]
    for n in range(1, len(PROMPTS)):
        change = (means[n] - means[n - 1]).flatten(1).norm(dim=1) / means[n].flatten(1).norm(dim=1)
        torch.testing.assert_close(lens.changes[n], change, rtol=1e-4, atol=0)
        assert float(lens.convergence[n]) == pytest.approx(float(change.max()), rel=1e-4)
    assert lens.changes[0].tolist() == [1.0] * len(lens.layers)


def test_a_fit_ends_when_the_mean_changes_by_less_than_is_asked_for() -> None:
    second, third = fitted().convergence[1:3].tolist()
    assert eq.fit_lens(shared(), PROMPTS, "jacobian", skip=SKIP, stop=second * 1.01).prompts == 2
    ended = eq.fit_lens(shared(), PROMPTS, "jacobian", skip=SKIP, stop=min(second, third) * 1.01)
    assert ended.prompts == (2 if second <= third else 3)
    assert len(ended.prompt_digests) == len(ended.changes) == ended.prompts
    assert eq.fit_lens(shared(), PROMPTS, "jacobian", skip=SKIP, stop=1e-9).prompts == 4
    assert eq.fit_lens(shared(), PROMPTS, "jacobian", skip=SKIP, stop=2).prompts == 2, "one prompt changes no mean"


def test_prompts_that_are_too_short_are_left_out_and_counted() -> None:
    lens = eq.fit_lens(shared(), [PROMPTS[0], PROMPTS[1][: SKIP + 1]], "jacobian", skip=SKIP)
    assert (lens.prompts, lens.left_out, lens.skip) == (1, 1, SKIP)
    assert torch.equal(lens.matrices, alone(PROMPTS[0]))
    with pytest.raises(ValueError, match="No prompt has the 18 tokens that it takes: skip=16"):
        eq.fit_lens(shared(), PROMPTS)
    assert eq.fit_lens(shared(), [PROMPTS[0][:1]], "frozen", positions="last").source_positions == 1


def test_the_published_number_of_positions_is_skipped_unless_told_otherwise() -> None:
    long = [*PROMPTS[0], *PROMPTS[2], *PROMPTS[3]]
    lens = eq.fit_lens(shared(), [long], "jacobian")
    assert (lens.skip, lens.source_positions) == (16, len(long) - 17)


def test_layers_can_be_chosen_and_come_in_order() -> None:
    lens = eq.fit_lens(shared(), PROMPTS, "jacobian", layers=[1, 1], skip=SKIP)
    assert lens.layers == [1]
    torch.testing.assert_close(lens.matrices[0], fitted().matrices[1], rtol=1e-6, atol=1e-7)
    for layers in ([2], [-1], []):
        with pytest.raises(eq.EqlinError, match=r"(A layer|layers) is .* 0 to 1"):
            eq.fit_lens(shared(), PROMPTS, layers=layers, skip=SKIP)
    with pytest.raises(eq.EqlinError, match="This model has one block"):
        eq.fit_lens(tiny_model("llama", num_hidden_layers=1), PROMPTS, skip=SKIP)


def test_texts_and_token_ids_are_prompts_alike() -> None:
    from tests.eqlin_core.odd_calls import tiny_with_text

    lm = tiny_with_text()
    lens = eq.fit_lens(lm, ["the bridge", lm.encode("of Marin")], "frozen", skip=1)
    again = eq.fit_lens(lm, [lm.encode("the bridge"), lm.encode("of Marin")], "frozen", skip=1)
    assert torch.equal(lens.matrices, again.matrices)
    assert lens.prompt_digests == again.prompt_digests
    assert lens.corpus == again.corpus != fitted().corpus


def test_a_fit_leaves_no_trace_on_the_model_and_can_be_cancelled() -> None:
    lm = tiny_model("llama")
    before, ids = lm.model.config._attn_implementation, torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        logits = lm.model(ids).logits
    seen: list[float] = []

    def until_there(fraction: float, _message: str) -> bool:
        seen.append(fraction)
        return fraction < 0.6

    for kind in ("frozen", "r-lens"):
        with pytest.raises(eq.Cancelled):
            eq.fit_lens(lm, PROMPTS, kind, skip=SKIP, progress=until_there)
    assert seen[0] == 0
    assert any(0.25 < fraction < 0.5 for fraction in seen)
    assert lm.model.config._attn_implementation == before
    assert hooks(lm.model) == []
    with torch.no_grad():
        assert torch.equal(lm.model(ids).logits, logits)


def test_inference_mode_changes_no_number() -> None:
    expected = alone(PROMPTS[0])
    with torch.inference_mode():
        assert torch.equal(alone(PROMPTS[0]), expected)


def test_moments_are_those_of_all_matrices_at_once() -> None:
    stacks = 1e3 + torch.randn(7, 2, 3, 3, dtype=torch.float64)
    parts = [Moments.none(2, 3), Moments.none(2, 3)]
    for n, stack in enumerate(stacks):
        parts[n > 2].add(stack)
    parts[0].merge(parts[1].mean, parts[1].squares, parts[1].count)
    assert parts[0].count == 7
    torch.testing.assert_close(parts[0].mean, stacks.mean(0), rtol=1e-14, atol=0)
    expected = (stacks - stacks.mean(0)).square().sum((0, -1, -2))
    torch.testing.assert_close(parts[0].squares, expected, rtol=1e-9, atol=0)
