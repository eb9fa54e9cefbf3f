"""Decompositions are torch's own, on whatever device they were asked for."""

from __future__ import annotations

import torch

from eqlin_core.linalg.decompositions import qr, spectral_norm, svd


def test_they_are_those_of_torch() -> None:
    matrix = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for ours, theirs in ((qr(matrix), torch.linalg.qr(matrix)), (svd(matrix), torch.linalg.svd(matrix, False))):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b)
    assert torch.allclose(spectral_norm(matrix), torch.linalg.svdvals(matrix)[:, 0])
    assert len(qr(matrix, mode="r")[0]) == 0
