"""Spectra refined from a matrix of lower precision, against those of the run's own matrix."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from tests.cases import MARIN, PROMPT, default_model

DTYPES = {"float32": torch.float32, "float64": torch.float64}
ROUGH = {"float32": "bfloat16", "float64": "float32"}
# Of a singular value, over the largest of its token: what both ways round.
CLOSE = {"float32": 5e-6, "float64": 1e-13}
# Of a residual over its singular value, and what rounding leaves over the largest one.
BOUND = {"float32": 2e-4, "float64": 1e-7}
ROUNDING = {"float32": 1.2e-5, "float64": 2.3e-14}


def turned(found: Tensor, expected: Tensor) -> Tensor:
    """The sine of the largest angle between the spaces of two sets of orthonormal columns."""
    rest = found - expected @ (expected.mT @ found)
    return torch.linalg.matrix_norm(rest, ord=2)


def check(lin: eq.LinearMap, k: int) -> eq.RefinedSpectrum:
    """The refined spectrum, compared with the direct one: values, subspaces by their gaps, stable ranks, residuals."""
    found = eq.spectrum(lin, k, method="refined")
    assert not lin.has_jacobian, "it needs no matrix in the run's precision"
    assert isinstance(found, eq.RefinedSpectrum)
    name = str(lin.inputs.dtype).removeprefix("torch.")
    assert found.matrix_dtype == ROUGH[name]
    direct = eq.spectrum(lin, k)
    top = direct.S[:, :1]
    assert float(((found.S - direct.S).abs() / top).max()) < CLOSE[name]
    bound = BOUND[name] * direct.S / top + ROUNDING[name]
    assert bool((found.residuals <= bound[..., None]).all())
    assert bool(((found.stable_rank - direct.stable_rank).abs() <= found.stable_rank_error + 1e-6).all())
    assert float(found.stable_rank_error.max()) < 0.05 * float(direct.stable_rank.max())
    images = torch.einsum("toi,tki->tok", lin.jacobian(), found.Vh)
    assert float(((images - found.U * found.S[:, None]).norm(dim=1) / top).max()) < BOUND[name] + ROUNDING[name]
    assert bool((torch.einsum("tdk,d->tk", found.U, lin.output) >= -1e-6).all())
    for token in range(lin.n_tokens):
        S = torch.linalg.svdvals(lin.jacobian()[token])
        gaps = S[:k] - S[1 : k + 1]
        at = int(gaps.argmax())
        angle = turned(found.U[token][:, : at + 1], direct.U[token][:, : at + 1])
        # Wedin: the residuals of both, in the worst case together, over the gap.
        assert float(angle) < 4 * float(bound[token].norm() * S[0] / gaps[at])
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_they_agree_with_the_direct_way(family: str, dtype: str) -> None:
    lm = tiny_model(family, DTYPES[dtype])
    lin = eq.linearize(lm, token_ids=PROMPT)
    found = check(lin, 3)
    assert found.passes < lin.n_tokens * lin.width


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.slow
def test_so_they_do_with_the_default_model(dtype: str) -> None:
    found = check(eq.linearize(default_model(dtype), MARIN), 24)
    assert 4 * 24 < found.passes / 7 < 6 * 24


def test_they_are_of_the_same_map_whatever_its_ends_and_convention_are() -> None:
    lm = tiny_model("llama", torch.float64)
    site = eq.Site(1, "mlp")
    lin = eq.linearize(lm, token_ids=PROMPT, target=site, position=4, gated_path="gate", final_norm=False)
    found = eq.spectrum(lin, 3, method="refined")
    torch.testing.assert_close(found.S, eq.spectrum(lin, 3).S, rtol=1e-11, atol=1e-13)
    assert found.S[5:].abs().max() == 0, "the position does not see them"
    assert found.stable_rank[5:].abs().max() == 0


def test_the_number_of_triplets_may_be_the_width() -> None:
    lin = eq.linearize(tiny_model("llama", torch.float64), token_ids=PROMPT[:3])
    found = eq.spectrum(lin, lin.width, method="refined")
    torch.testing.assert_close(found.U @ torch.diag_embed(found.S) @ found.Vh, lin.jacobian(), rtol=1e-9, atol=1e-11)


def test_progress_rises_and_ends_it() -> None:
    lin = eq.linearize(tiny_model("llama", torch.float64), token_ids=PROMPT)
    told: list[float | None] = []
    eq.spectrum(lin, 2, method="refined", progress=lambda fraction, message: told.append(fraction))
    numbers = [fraction for fraction in told if fraction is not None]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 1
    with pytest.raises(eq.Cancelled):
        eq.spectrum(lin, 2, method="refined", progress=lambda fraction, message: (fraction or 0) < 0.8)
    assert eq.spectrum(lin, 2, method="refined").S.shape == (len(PROMPT), 2)


def test_what_has_no_lower_precision_or_no_copy_is_refused_in_a_sentence() -> None:
    half = eq.linearize(tiny_model("llama", torch.bfloat16), token_ids=PROMPT)
    with pytest.raises(eq.EqlinError, match="this run is in bfloat16"):
        eq.spectrum(half, 2, method="refined")
    lm = tiny_model("llama", torch.float64)
    lin = eq.linearize(lm, token_ids=PROMPT)
    with pytest.raises(eq.EqlinError, match="top_triplets needs none"):
        eq.spectrum(lin, 2, joint=True, method="refined")
    with pytest.raises(eq.EqlinError, match="'direct' or 'refined'"):
        eq.spectrum(lin, 2, method="fast")


def test_the_model_itself_is_left_as_it_was() -> None:
    lm = tiny_model("llama", torch.float64)
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    eq.spectrum(eq.linearize(replace(lm), token_ids=PROMPT), 2, method="refined")
    after = lm.model.state_dict()
    assert all(torch.equal(before[name], after[name]) and after[name].dtype == torch.float64 for name in before)
