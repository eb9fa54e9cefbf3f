"""Truncated decompositions against torch.linalg.svd, on a model's map and on matrices with a prescribed spectrum."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from eqlin_core.spectra import spectrum as spectra
from tests.cases import PROMPT, llama

D, K = 400, 24
SPECTRA = {
    "decaying": 10.0 * 0.9 ** torch.arange(D, dtype=torch.float64),
    "flat": torch.full((D,), 3.0, dtype=torch.float64),
    "nearly flat": torch.linspace(1.0, 1.0001, D, dtype=torch.float64).flip(0),
    "clustered": torch.cat([torch.linspace(5.0, 5.0 + 1e-9, 30), torch.linspace(1, 0, D - 30)]).double(),
    "repeated beyond the block": torch.cat([torch.full((20,), 7.0), torch.full((D - 20,), 0.5)]).double(),
    "of low rank": torch.cat([torch.arange(5.0, 0, -1), torch.zeros(D - 5)]).double(),
    "of rank one": torch.cat([torch.tensor([2.0]), torch.zeros(D - 1)]).double(),
    "zero": torch.zeros(D, dtype=torch.float64),
    "of great range": torch.cat([torch.tensor([1e8, 1e4]), torch.full((D - 2,), 1.0)]).double(),
}


def with_singular_values(values: Tensor, seed: int, columns: int = D) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(D, D, generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(columns, D, generator=generator, dtype=torch.float64))[0]
    return left @ (values[:, None] * right.T)


@pytest.fixture(scope="module")
def matrices() -> Tensor:
    return torch.stack([with_singular_values(values, seed) for seed, values in enumerate(SPECTRA.values())])


@pytest.mark.parametrize("k", [1, 8, K])
def test_singular_values_agree_with_a_full_decomposition_whatever_the_spectrum(matrices: Tensor, k: int) -> None:
    _, S, _ = spectra.truncated_svd(matrices, k)
    exact = torch.linalg.svdvals(matrices)
    for name, found, values in zip(SPECTRA, S, exact, strict=True):
        error = (found - values[:k]).abs().max()
        assert error <= 1e-10 * values[0], f"{name}: {error}"


def test_triplets_are_orthonormal_and_satisfy_both_equations(matrices: Tensor) -> None:
    U, S, Vh = spectra.truncated_svd(matrices, K)
    identity = torch.eye(K, dtype=torch.float64).expand(len(matrices), -1, -1)
    torch.testing.assert_close(U.mT @ U, identity, rtol=0, atol=1e-9)
    nonzero = S[:, -1] > 1e-9
    torch.testing.assert_close((Vh @ Vh.mT)[nonzero], identity[nonzero], rtol=0, atol=1e-9)
    scale = matrices.flatten(1).norm(dim=1)[:, None, None] + 1
    assert ((matrices @ Vh.mT - U * S[:, None]).abs() / scale).max() < 1e-6
    assert ((matrices.mT @ U - Vh.mT * S[:, None]).abs() / scale).max() < 1e-6


def test_one_difficult_matrix_does_not_spoil_the_others(matrices: Tensor) -> None:
    alone = spectra.truncated_svd(matrices[:1], K)[1]
    together = spectra.truncated_svd(matrices, K)[1]
    torch.testing.assert_close(together[:1], alone, rtol=1e-12, atol=0)


def test_what_the_first_directions_miss_is_noticed() -> None:
    """Two values of which the second is found only by looking at what was left out."""
    values = torch.cat([torch.tensor([1.0, 1.0]), torch.full((D - 2,), 0.999)]).double()
    _, S, _ = spectra.truncated_svd(with_singular_values(values, 5)[None], 4)
    torch.testing.assert_close(S[0], torch.tensor([1.0, 1.0, 0.999, 0.999]).double(), rtol=1e-10, atol=0)


def test_wide_matrices_are_decomposed_too() -> None:
    wide = with_singular_values(SPECTRA["decaying"], 3, columns=3 * D)
    torch.testing.assert_close(spectra.truncated_svd(wide[None], K)[1][0], SPECTRA["decaying"][:K], rtol=1e-10, atol=0)


def test_float32_keeps_its_own_precision_and_half_precision_is_raised_to_it(matrices: Tensor) -> None:
    single = spectra.truncated_svd(matrices[:1].float(), K)
    assert single[1].dtype == torch.float32
    torch.testing.assert_close(single[1].double()[0], SPECTRA["decaying"][:K], rtol=1e-5, atol=1e-5)
    assert spectra.truncated_svd(matrices[:1].bfloat16(), 4)[1].dtype == torch.float32


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
    with pytest.raises(eq.EqlinError, match=f"k is between 1 and the width 32, not {k}"):
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
