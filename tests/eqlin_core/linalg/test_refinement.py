"""Triplets of a matrix that is only roughly known, against torch.linalg.svd of the true one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eqlin_core.linalg.refinement import Refined, refined_triplets

DTYPES = [torch.float32, torch.float64]
WIDTH, K = 120, 6
# Relative error of a singular value: float32 rounds products of this width.
CLOSE = {torch.float32: 3e-6, torch.float64: 1e-12}


def orthogonal(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64))[0]


def true_matrix(dtype: torch.dtype) -> Tensor:
    """Singular values that fall by a fifth each, as far as there is room, and a floor of small ones."""
    S = 0.8 ** torch.arange(WIDTH, dtype=torch.float64) + 1e-3
    return (orthogonal(0) * S @ orthogonal(1).mT).to(dtype)


def near(J: Tensor, share: float, seed: int = 2) -> Tensor:
    noise = torch.randn(J.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(J)
    return J + share * J.norm() / noise.norm() * noise


def refine(J: Tensor, rough: Tensor, k: int = K) -> tuple[Refined, dict[str, int]]:
    """What it finds, and how many vectors J and its transpose were asked for."""
    asked = {"forward": 0, "reverse": 0}

    def forward(rows: Tensor) -> Tensor:
        asked["forward"] += len(rows)
        return rows @ J.mT

    def reverse(rows: Tensor) -> Tensor:
        asked["reverse"] += len(rows)
        return rows @ J

    return refined_triplets(forward, reverse, rough, k), asked


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [1e-6, 0.02, 0.2])
def test_the_triplets_are_those_of_the_true_matrix(dtype: torch.dtype, share: float) -> None:
    J = true_matrix(dtype)
    found, asked = refine(J, near(J, share))
    U, S, Vh = torch.linalg.svd(J)
    torch.testing.assert_close(found.S, S[:K], rtol=CLOSE[dtype], atol=0)
    bound = {torch.float32: 2e-4, torch.float64: 1e-7}[dtype] + 100 * torch.finfo(dtype).eps
    assert float(found.residuals.max()) <= bound
    # A residual r turns a vector by at most r over the gap to the next value, a fifth of its own here.
    assert float((found.U.mT @ U[:, :K]).diagonal().abs().min()) > 1 - (10 * bound) ** 2
    assert float((found.Vh @ Vh[:K].mT).diagonal().abs().min()) > 1 - (10 * bound) ** 2
    assert found.passes == sum(asked.values())


def test_a_better_start_takes_fewer_passes_than_the_matrix_has_rows() -> None:
    J = true_matrix(torch.float64)
    fine, rough = refine(J, near(J, 1e-6))[0].passes, refine(J, near(J, 0.02))[0].passes
    assert fine < rough < WIDTH


def test_the_residuals_are_the_true_ones() -> None:
    J = true_matrix(torch.float64)
    found, _ = refine(J, near(J, 0.02))
    straight = (J @ found.Vh.mT - found.U * found.S).norm(dim=0) / found.S[0]
    transposed = (J.mT @ found.U - found.Vh.mT * found.S).norm(dim=0) / found.S[0]
    assert float((found.residuals - torch.stack([straight, transposed], 1)).abs().max()) < 1e-13


def test_a_large_direction_that_the_rough_matrix_lacks_is_found() -> None:
    J = true_matrix(torch.float64)
    U, S, Vh = torch.linalg.svd(J)
    blind = J - S[0] * U[:, :1] @ Vh[:1]
    found, _ = refine(J, blind)
    torch.testing.assert_close(found.S, S[:K], rtol=1e-10, atol=0)


def test_a_rough_matrix_that_tells_nothing_costs_passes_and_no_digits() -> None:
    J = true_matrix(torch.float64)
    found, asked = refine(J, near(torch.zeros_like(J), 0.0) + near(orthogonal(5), 0.5))
    torch.testing.assert_close(found.S, torch.linalg.svdvals(J)[:K], rtol=1e-10, atol=0)
    assert asked["reverse"] >= K
    assert float(found.residuals.max()) <= 1e-7


@pytest.mark.parametrize("k", [1, WIDTH - 2, WIDTH])
def test_any_number_of_triplets_can_be_asked_for(k: int) -> None:
    J = true_matrix(torch.float64)
    found, _ = refine(J, near(J, 0.02), k)
    torch.testing.assert_close(found.S, torch.linalg.svdvals(J)[:k], rtol=1e-9, atol=1e-13)
    assert (found.U.shape, found.Vh.shape) == ((WIDTH, k), (k, WIDTH))


def test_an_empty_matrix_has_no_values() -> None:
    J = torch.zeros(WIDTH, WIDTH, dtype=torch.float64)
    found, _ = refine(J, J)
    assert found.S.tolist() == [0.0] * K
    assert found.residuals.abs().max() == 0
    assert found.squared == found.squared_error == 0


@pytest.mark.parametrize("share", [1e-6, 0.02, 0.2])
def test_the_frobenius_norm_is_within_its_error_which_falls_with_that_of_the_rough_matrix(share: float) -> None:
    J = true_matrix(torch.float64)
    truth = float(J.square().sum())
    for seed in range(20):
        found, _ = refine(J, near(J, share, seed))
        assert abs(found.squared - truth) <= found.squared_error
        assert found.squared_error < share * truth
