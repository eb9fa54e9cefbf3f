"""Truncated decompositions against torch.linalg.svd, on matrices with a prescribed spectrum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eqlin_core.linalg.truncated_svd import truncated_svd

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
    _, S, _ = truncated_svd(matrices, k)
    exact = torch.linalg.svdvals(matrices)
    for name, found, values in zip(SPECTRA, S, exact, strict=True):
        error = (found - values[:k]).abs().max()
        assert error <= 1e-10 * values[0], f"{name}: {error}"


def test_triplets_are_orthonormal_and_satisfy_both_equations(matrices: Tensor) -> None:
    U, S, Vh = truncated_svd(matrices, K)
    identity = torch.eye(K, dtype=torch.float64).expand(len(matrices), -1, -1)
    torch.testing.assert_close(U.mT @ U, identity, rtol=0, atol=1e-9)
    nonzero = S[:, -1] > 1e-9
    torch.testing.assert_close((Vh @ Vh.mT)[nonzero], identity[nonzero], rtol=0, atol=1e-9)
    scale = matrices.flatten(1).norm(dim=1)[:, None, None] + 1
    assert ((matrices @ Vh.mT - U * S[:, None]).abs() / scale).max() < 1e-6
    assert ((matrices.mT @ U - Vh.mT * S[:, None]).abs() / scale).max() < 1e-6


def test_one_difficult_matrix_does_not_spoil_the_others(matrices: Tensor) -> None:
    alone = truncated_svd(matrices[:1], K)[1]
    together = truncated_svd(matrices, K)[1]
    torch.testing.assert_close(together[:1], alone, rtol=1e-12, atol=0)


def test_what_the_first_directions_miss_is_noticed() -> None:
    """Two values of which the second is found only by looking at what was left out."""
    values = torch.cat([torch.tensor([1.0, 1.0]), torch.full((D - 2,), 0.999)]).double()
    _, S, _ = truncated_svd(with_singular_values(values, 5)[None], 4)
    torch.testing.assert_close(S[0], torch.tensor([1.0, 1.0, 0.999, 0.999]).double(), rtol=1e-10, atol=0)


def test_wide_matrices_are_decomposed_too() -> None:
    wide = with_singular_values(SPECTRA["decaying"], 3, columns=3 * D)
    torch.testing.assert_close(truncated_svd(wide[None], K)[1][0], SPECTRA["decaying"][:K], rtol=1e-10, atol=0)


def test_float32_keeps_its_own_precision_and_half_precision_is_raised_to_it(matrices: Tensor) -> None:
    single = truncated_svd(matrices[:1].float(), K)
    assert single[1].dtype == torch.float32
    torch.testing.assert_close(single[1].double()[0], SPECTRA["decaying"][:K], rtol=1e-5, atol=1e-5)
    assert truncated_svd(matrices[:1].bfloat16(), 4)[1].dtype == torch.float32
