"""The largest triplets of a map that is never formed, against the matrix that it has."""

import pytest
import torch

import eqlin_core as eq
from eqlin_core.spectra.triplets import top_triplets
from tests.cases import llama


@pytest.mark.parametrize("token", [None, 0, -1])
def test_a_models_triplets_are_those_of_its_matrix(token: int | None) -> None:
    lm = llama()
    lin = eq.linearize(lm, token_ids=[3, 1, 4, 1, 5])
    found = top_triplets(lin, 4, token=token)
    matrix = lin.jacobian()
    dense = matrix.permute(1, 0, 2).flatten(1) if token is None else matrix[token]
    oracle = torch.linalg.svdvals(dense)[:4]
    assert float((found.S - oracle).abs().max()) <= 1e-8 * float(oracle[0])
    assert bool((lin.output @ found.U >= 0).all())
    assert found.converged


def test_bad_requests_get_a_sentence() -> None:
    lin = eq.linearize(llama(), token_ids=[3, 1, 4])
    with pytest.raises(eq.EqlinError, match="k is a whole number from 1 to"):
        top_triplets(lin, 0)
    with pytest.raises(eq.EqlinError, match="Token 3 does not exist"):
        top_triplets(lin, 2, token=3)
