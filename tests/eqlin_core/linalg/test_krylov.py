"""The matrix-free triplets against dense decompositions and SciPy's svds, over spectra that are hard to find."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, svds

from eqlin_core.linalg.krylov import Triplets, block_krylov

M, N = 90, 140
SPECTRA = {
    "flat": np.full(M, 2.0),
    "decaying": 10.0 * 0.8 ** np.arange(M),
    "clustered": np.concatenate([[9.0], 5 + 1e-7 * np.arange(6), np.linspace(1, 0.01, M - 7)]),
    "repeated": np.concatenate([np.full(5, 4.0), np.full(5, 3.0), np.linspace(1, 0.01, M - 10)]),
    "rank-deficient": np.concatenate([[7.0, 3.0, 1.0], np.zeros(M - 3)]),
    "slow": np.linspace(2, 1, M),
    "zero": np.zeros(M),
}


def with_values(values: np.ndarray) -> torch.Tensor:
    draw = np.random.default_rng(3)
    u, _ = np.linalg.qr(draw.standard_normal((M, M)))
    v, _ = np.linalg.qr(draw.standard_normal((N, M)))
    return torch.from_numpy(u * values @ v.T)


def found_in(matrix: torch.Tensor, k: int, tolerance: float = 1e-10) -> Triplets:
    return block_krylov(lambda v: v @ matrix.T, lambda u: u @ matrix, matrix[:, 0], k, tolerance)


@pytest.mark.parametrize("k", [1, 6, 16])
@pytest.mark.parametrize("kind", SPECTRA)
def test_prescribed_spectra_are_found_with_both_equations(kind: str, k: int) -> None:
    matrix = with_values(SPECTRA[kind])
    found = found_in(matrix, k)
    scale = max(1.0, SPECTRA[kind].max())
    np.testing.assert_allclose(found.S.numpy(), np.sort(SPECTRA[kind])[::-1][:k], atol=1e-8 * scale)
    assert found.converged
    assert float((matrix @ found.Vh.T - found.U * found.S).norm()) <= 1e-8 * scale
    assert float((matrix.T @ found.U - found.Vh.T * found.S).norm()) <= 1e-8 * scale
    assert float((found.U.T @ found.U - torch.eye(k)).norm()) <= 1e-10


@pytest.mark.parametrize("kind", ["decaying", "clustered", "slow"])
def test_scipys_svds_finds_the_same_values(kind: str) -> None:
    matrix = with_values(SPECTRA[kind]).numpy()
    operator = LinearOperator(matrix.shape, matvec=lambda v: matrix @ v, rmatvec=lambda u: matrix.T @ u, dtype=float)
    oracle = np.sort(svds(operator, k=6, return_singular_vectors=False, random_state=0))[::-1]
    np.testing.assert_allclose(found_in(torch.from_numpy(matrix), 6).S.numpy(), oracle, rtol=1e-8)


def test_residuals_tell_what_is_not_there_yet() -> None:
    matrix = with_values(SPECTRA["slow"])
    loose = found_in(matrix, 4, tolerance=1e-2)
    error = (matrix @ loose.Vh.T - loose.U * loose.S).norm(dim=0) / loose.S[0]
    assert torch.allclose(loose.residuals[:, 0], error, rtol=1e-6, atol=1e-12)
    assert loose.passes < found_in(matrix, 4).passes
