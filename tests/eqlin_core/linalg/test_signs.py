"""One sign rule: a triplet's u points along the output, and the matrix stays what it was."""

import torch

from eqlin_core.linalg.signs import signed


def test_every_u_points_along_the_output_and_the_product_stays() -> None:
    J = torch.randn(3, 5, 7, dtype=torch.float64)
    y = torch.randn(3, 5, dtype=torch.float64)
    U, S, Vh = torch.linalg.svd(J, full_matrices=False)
    turned, right = signed(U, Vh, y)
    assert (torch.einsum("nmk,nm->nk", turned, y) >= 0).all()
    assert not torch.equal(turned, U), "no sign was open, so this tests nothing"
    torch.testing.assert_close(turned @ torch.diag_embed(S) @ right, J)


def test_one_output_may_stand_for_all_matrices() -> None:
    U, _, Vh = torch.linalg.svd(torch.randn(3, 5, 7), full_matrices=False)
    y = torch.randn(5, dtype=torch.float64)
    together = signed(U, Vh, y)
    for i in range(3):
        alone = signed(U[i], Vh[i], y)
        assert torch.equal(together[0][i], alone[0])
        assert torch.equal(together[1][i], alone[1])
