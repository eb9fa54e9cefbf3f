"""Every rank at once against the map cut rank by rank, and what is left of the prediction."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import eqlin_core as eq
from eqlin_core.analysis.prompt import next_logits
from eqlin_core.models.readout import next_token_logits
from eqlin_core.spectra.truncation import _keeps
from tests.cases import FAMILY_NAMES, LLAMAS, PROMPT, family, llama, marin_map, relative


def cut(matrix: Tensor, r: int) -> Tensor:
    """The matrix with all but its r largest singular values set to zero."""
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return (U[..., :r] * S[..., None, :r]) @ Vh[..., :r, :]


@pytest.fixture(params=LLAMAS)
def lin(request: pytest.FixtureRequest) -> eq.LinearMap:
    return eq.linearize(llama(request.param), token_ids=PROMPT)


@pytest.mark.parametrize("given", ["a spectrum", "nothing"])
def test_every_rank_is_the_output_of_the_matrices_cut_to_it(lin: eq.LinearMap, given: str) -> None:
    found = eq.truncate(lin, eq.spectrum(lin, k=lin.width) if given == "a spectrum" else None)
    assert found.outputs.shape == (lin.width + 1, lin.width)
    for r in (0, 1, 5, 20, lin.width):
        expected = torch.einsum("toi,ti->o", cut(lin.jacobian(), r), lin.inputs) + lin.bias
        torch.testing.assert_close(found.outputs[r], expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("given", ["a spectrum", "nothing"])
def test_every_joint_rank_is_the_output_of_the_joint_matrix_cut_to_it(lin: eq.LinearMap, given: str) -> None:
    found = eq.truncate(lin, eq.spectrum(lin, k=12, joint=True) if given == "a spectrum" else None, joint=True)
    assert len(found.outputs) == (13 if given == "a spectrum" else lin.width + 1)
    joint = lin.jacobian().transpose(0, 1).reshape(lin.width, -1)
    for r in (0, 1, 7, 12):
        expected = cut(joint, r) @ lin.inputs.flatten() + lin.bias
        torch.testing.assert_close(found.outputs[r], expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_the_whole_rank_is_the_whole_output_in_every_family(name: str) -> None:
    lin = eq.linearize(family(name), token_ids=PROMPT)
    found = eq.truncate(lin)
    assert relative(found.outputs[-1], lin.output) < 1e-12
    assert found.error[-1] < 1e-12
    assert found.divergence[-1] < 1e-12
    assert found.top[-1][0][0] == found.true_top[0][0]
    torch.testing.assert_close(found.outputs[0], lin.bias, rtol=0, atol=0)


def test_the_divergence_is_that_of_the_two_next_token_distributions(lin: eq.LinearMap) -> None:
    found = eq.truncate(lin, eq.spectrum(lin, k=6), top=3)
    true = torch.softmax(lin.lm.unembedding @ lin.output, -1)
    for r in range(7):
        cut_to_r = torch.softmax(lin.lm.unembedding @ found.outputs[r], -1)
        expected = (true * (true / cut_to_r).log()).sum()
        torch.testing.assert_close(found.divergence[r], expected, rtol=1e-9, atol=1e-12)
        if found.top[r]:
            assert [p for _, p in found.top[r]] == pytest.approx(cut_to_r.topk(3).values.tolist())
    assert [p for _, p in found.true_top] == pytest.approx(true.topk(3).values.tolist())


def test_without_biases_rank_zero_predicts_nothing_and_with_them_what_they_say() -> None:
    plain, affine = (eq.truncate(eq.linearize(llama(v), token_ids=PROMPT)) for v in ("plain", "affine"))
    assert plain.top[0] == []
    assert plain.error[0] == 1
    assert len(affine.top[0]) == 8


@pytest.mark.parametrize(
    ("best", "keeps"),
    [([-1, 7, 7, 7], 1), ([-1, 7, 3, 7], 3), ([7, 7, 7], 0), ([-1, 7, 3], None), ([3], None)],
)
def test_a_rank_keeps_the_top_token_only_if_all_later_ranks_do(best: list[int], keeps: int | None) -> None:
    assert _keeps(best, true=7) == keeps


def test_the_kept_rank_agrees_with_the_top_tokens(lin: eq.LinearMap) -> None:
    found = eq.truncate(lin)
    true = found.true_top[0][0]
    assert found.keeps is not None
    assert all(row[0][0] == true for row in found.top[found.keeps :])
    assert found.keeps == 0 or not found.top[found.keeps - 1] or found.top[found.keeps - 1][0][0] != true


@pytest.mark.parametrize("name", ["llama", "gemma2", "granite", "cohere2", "gpt2", "phi", "gemma3-multimodal"])
def test_logits_of_an_output_have_all_that_the_model_applies_to_them(name: str) -> None:
    lm = family(name)
    (logits,) = next_token_logits(lm, eq.linearize(lm, token_ids=PROMPT).output[None])
    torch.testing.assert_close(logits, next_logits(lm, PROMPT), rtol=1e-4, atol=1e-5)


def test_the_memory_budget_changes_nothing() -> None:
    wide, narrow = (eq.truncate(eq.linearize(llama(), token_ids=PROMPT, memory_budget=budget)) for budget in (None, 1))
    torch.testing.assert_close(narrow.divergence, wide.divergence, rtol=1e-9, atol=1e-12)
    assert [row[:1] for row in narrow.top[1:]] == [[(row[0][0], pytest.approx(row[0][1]))] for row in wide.top[1:]]


def test_it_reports_and_can_be_cancelled() -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT)
    seen: list[float] = []
    eq.truncate(lin, progress=lambda fraction, _: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)
    with pytest.raises(eq.Cancelled):
        eq.truncate(lin, progress=lambda fraction, _: fraction < 0.6)


def test_what_predicts_no_token_and_a_spectrum_of_another_map_are_refused() -> None:
    inner = eq.linearize(llama(), token_ids=PROMPT, target=eq.Site(1, "mlp"))
    with pytest.raises(eq.EqlinError, match="ends inside the network"):
        eq.truncate(inner, eq.spectrum(inner, k=2))
    lin = eq.linearize(llama(), token_ids=PROMPT)
    with pytest.raises(eq.EqlinError, match="belongs to another map"):
        eq.truncate(lin, eq.spectrum(eq.linearize(llama(), token_ids=PROMPT[:4]), k=2))


def test_the_default_model_s_prediction_needs_88_triplets_a_token() -> None:
    """Its two most likely next tokens are nearly tied, which the first triplets decide one way and the other."""
    lin = marin_map("float32")
    found = eq.truncate(lin)
    assert found.keeps is not None
    assert 80 <= found.keeps <= 96
    assert found.true_top[0][0] == " only"
    assert found.divergence[1] == pytest.approx(0.056, abs=0.001)
    assert found.divergence[48] < 0.005
    first, last = eq.truncate(lin, eq.spectrum(lin, k=24)).divergence[[1, 24]].tolist()
    assert (first, last) == pytest.approx((float(found.divergence[1]), float(found.divergence[24])), rel=1e-2)
