"""The spectrum of a map against torch.linalg.svd of each token's matrix, alone and joint; progress, refusals."""

from __future__ import annotations

import math

import pytest
import torch

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from tests.cases import PROMPT, llama


@pytest.fixture(scope="module")
def lin() -> eq.LinearMap:
    return eq.linearize(llama("affine"), token_ids=PROMPT)


@pytest.mark.parametrize("k", [1, 5, 32])
def test_the_spectrum_of_a_map_is_that_of_each_tokens_matrix(lin: eq.LinearMap, k: int) -> None:
    found = eq.spectrum(lin, k=k)
    _, S, _ = torch.linalg.svd(lin.jacobian())
    torch.testing.assert_close(found.S, S[:, :k], rtol=1e-10, atol=1e-12)
    product = found.U @ torch.diag_embed(found.S) @ found.Vh
    if k == lin.width:
        torch.testing.assert_close(product, lin.jacobian(), rtol=1e-9, atol=1e-11)
    assert found.U.shape == (11, 32, k)
    assert found.Vh.shape == (11, k, 32)


def test_left_vectors_point_along_the_output_and_right_vectors_follow(lin: eq.LinearMap) -> None:
    found = eq.spectrum(lin, k=8)
    assert (torch.einsum("tdk,d->tk", found.U, lin.output) >= 0).all()
    images = torch.einsum("toi,tki->tok", lin.jacobian(), found.Vh)
    torch.testing.assert_close(images, found.U * found.S[:, None], rtol=1e-9, atol=1e-10)


def test_the_stable_rank_uses_the_whole_frobenius_norm(lin: eq.LinearMap) -> None:
    matrix = lin.jacobian()
    exact = matrix.flatten(1).norm(dim=1) ** 2 / torch.linalg.matrix_norm(matrix, ord=2) ** 2
    for k in (1, 8):
        torch.testing.assert_close(eq.spectrum(lin, k=k).stable_rank, exact, rtol=1e-10, atol=0)
    kept = eq.spectrum(lin, k=1).S.square().sum(1) / eq.spectrum(lin, k=1).S[:, 0] ** 2
    assert (exact > kept + 0.1).any(), "this case cannot tell the two apart"


def test_the_joint_spectrum_is_that_of_all_matrices_side_by_side(lin: eq.LinearMap) -> None:
    joint = eq.spectrum(lin, k=6, joint=True)
    side_by_side = lin.jacobian().permute(1, 0, 2).reshape(32, -1)
    torch.testing.assert_close(joint.S, torch.linalg.svdvals(side_by_side)[:6], rtol=1e-10, atol=0)
    torch.testing.assert_close(
        joint.stable_rank, (side_by_side.norm() / torch.linalg.matrix_norm(side_by_side, ord=2)) ** 2
    )
    assert (joint.U.shape, joint.S.shape, joint.Vh.shape) == ((32, 6), (6,), (6, 11 * 32))
    assert (joint.U.T @ lin.output >= 0).all()


def test_tokens_that_the_position_does_not_see_have_an_empty_spectrum() -> None:
    found = eq.spectrum(eq.linearize(llama(), token_ids=PROMPT, position=3), k=4)
    assert (found.S[4:] == 0).all()
    assert (found.stable_rank[4:] == 0).all()
    assert not any(t.isnan().any() for t in (found.U, found.Vh, found.stable_rank))


@pytest.mark.parametrize("k", [0, -1, 33])
def test_a_number_of_values_out_of_range_is_refused(lin: eq.LinearMap, k: int) -> None:
    with pytest.raises(eq.EqlinError, match=f"k is a whole number from 1 to 32 .the model's width., not {k}"):
        eq.spectrum(lin, k=k)


def test_progress_runs_from_the_matrix_to_the_end_and_can_cancel() -> None:
    lin = eq.linearize(tiny_model("llama"), token_ids=PROMPT, memory_budget=1)
    seen: list[tuple[float, str]] = []
    eq.spectrum(lin, k=2, progress=lambda f, m: seen.append((f, m)))
    fractions = [f for f, _ in seen]
    assert fractions == sorted(fractions)
    assert math.isclose(fractions[-1], 1.0)
    assert {m for _, m in seen} == {"Matrix", "Spectra"}
    with pytest.raises(eq.Cancelled):
        eq.spectrum(lin, k=2, progress=lambda f, m: f < 0.95)
    assert eq.spectrum(lin, k=2).S.shape == (11, 2)
