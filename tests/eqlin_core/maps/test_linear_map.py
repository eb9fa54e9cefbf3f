"""The linear map as an operator: what it maps, its transpose, its matrix, and that they are all the same map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import svds

import eqlin_core as eq
from eqlin_core.resources import budget
from tests.cases import LLAMAS, PROMPT, llama, relative

pytestmark = pytest.mark.parametrize("variant", LLAMAS)


@pytest.fixture
def lin(variant: str) -> eq.LinearMap:
    return eq.linearize(llama(variant), token_ids=PROMPT)


def test_the_map_reconstructs_the_output_to_float64_rounding(lin: eq.LinearMap) -> None:
    lin.jacobian()
    exactness = lin.exactness()
    assert exactness.reconstruction < 1e-13
    assert exactness.forward < 1e-6
    assert exactness.dtype == "float64"
    assert exactness.exact
    assert exactness.leaks == []


def test_apply_and_adjoint_are_transposes(lin: eq.LinearMap) -> None:
    v = torch.randn(3, *lin.inputs.shape, dtype=torch.float64)
    u = torch.randn(3, lin.width, dtype=torch.float64)
    torch.testing.assert_close((lin.apply(v) * u).sum(-1), (v * lin.adjoint(u)).sum((-2, -1)), rtol=1e-12, atol=1e-12)


def test_apply_is_linear_although_the_network_has_biases(lin: eq.LinearMap) -> None:
    v, w = torch.randn(2, *lin.inputs.shape, dtype=torch.float64)
    torch.testing.assert_close(lin.apply(2 * v - 3 * w), 2 * lin.apply(v) - 3 * lin.apply(w), rtol=1e-12, atol=1e-12)


def test_matrix_by_reverse_passes_equals_the_map_by_forward_replay(lin: eq.LinearMap) -> None:
    basis = torch.eye(lin.inputs.numel(), dtype=torch.float64).view(-1, *lin.inputs.shape)
    columns = lin.apply(basis).T.reshape(lin.width, lin.n_tokens, lin.width)
    torch.testing.assert_close(lin.jacobian(), columns.transpose(0, 1), rtol=1e-11, atol=1e-12)


def test_contributions_are_the_matrix_of_each_token_times_its_embedding(lin: eq.LinearMap) -> None:
    expected = torch.einsum("toi,ti->to", lin.jacobian(), lin.inputs)
    torch.testing.assert_close(lin.contributions(), expected, rtol=1e-12, atol=1e-12)


def test_contributions_and_bias_sum_to_the_output(lin: eq.LinearMap, variant: str) -> None:
    assert relative(lin.contributions().sum(0) + lin.bias, lin.output) < 1e-13
    assert bool(lin.bias.any()) == (variant == "affine")


def test_the_logit_of_any_token_splits_over_tokens_and_bias(lin: eq.LinearMap) -> None:
    directions = lin.lm.unembedding[[3, 41]]
    parts, constant = lin.logit_split(directions)
    assert parts.shape == (2, len(PROMPT))
    torch.testing.assert_close(parts.sum(-1) + constant, directions @ lin.output, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory_budget", [1, 60_000])
def test_the_chunk_size_changes_nothing(variant: str, memory_budget: int) -> None:
    wide = eq.linearize(llama(variant), token_ids=PROMPT)
    narrow = eq.linearize(llama(variant), token_ids=PROMPT, memory_budget=memory_budget)
    calls: list[float] = []
    torch.testing.assert_close(
        narrow.jacobian(lambda fraction, _: calls.append(fraction)), wide.jacobian(), rtol=1e-12, atol=1e-13
    )
    assert len(calls) > 2, "the budget did not split the matrix"
    torch.testing.assert_close(narrow.contributions(), wide.contributions(), rtol=1e-12, atol=1e-13)


def test_the_chunk_fits_the_budget_and_is_never_empty(variant: str) -> None:
    assert budget.chunk_size(1000, 1, torch.device("cpu"), 10_000) == 10
    assert budget.chunk_size(1000, 1, torch.device("cpu"), 1) == 1


def test_the_ordinary_jacobian_differs_and_does_not_reconstruct(lin: eq.LinearMap, variant: str) -> None:
    ordinary = eq.ordinary_jacobian(llama(variant), token_ids=PROMPT)
    assert ordinary.shape == lin.jacobian().shape
    assert relative(ordinary, lin.jacobian()) > 0.1
    assert relative(torch.einsum("toi,ti->o", ordinary, lin.inputs) + lin.bias, lin.output) > 0.1


def test_the_ordinary_jacobian_is_the_derivative_of_the_stock_model(variant: str) -> None:
    lm = llama(variant)
    embeddings = lm.model.get_input_embeddings()(torch.tensor(PROMPT))
    direction = torch.randn(embeddings.shape, dtype=torch.float64)
    decoder = lm.model.get_decoder()

    def value(step: float) -> torch.Tensor:
        moved = (embeddings + step * direction)[None]
        return decoder(inputs_embeds=moved, use_cache=False).last_hidden_state[0, -1]

    step = 2e-4  # the stock norms round to float32, so a smaller step only measures that
    slope = (value(step) - value(-step)) / (2 * step)
    product = torch.einsum("toi,ti->o", eq.ordinary_jacobian(lm, token_ids=PROMPT), direction)
    assert relative(product, slope) < 5e-3


def test_scipy_sees_the_same_matrix(lin: eq.LinearMap) -> None:
    dense = lin.jacobian().transpose(0, 1).reshape(lin.width, -1).numpy()
    operator = lin.as_scipy()
    assert operator.shape == dense.shape
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(dense.shape[1]), rng.standard_normal(dense.shape[0])
    many = rng.standard_normal((dense.shape[1], 3))
    np.testing.assert_allclose(operator @ x, dense @ x, atol=1e-11)
    np.testing.assert_allclose(operator.rmatvec(y), dense.T @ y, atol=1e-11)
    np.testing.assert_allclose(operator @ many, dense @ many, atol=1e-11)
    np.testing.assert_allclose(operator.T @ y, dense.T @ y, atol=1e-11)


def test_scipy_finds_the_joint_singular_values_without_the_matrix(lin: eq.LinearMap) -> None:
    values = svds(lin.as_scipy(), k=3, return_singular_vectors=False, random_state=0)
    joint = eq.spectrum(lin, k=3, joint=True)
    np.testing.assert_allclose(sorted(values, reverse=True), joint.S.numpy(), rtol=1e-9)


def test_shapes_that_do_not_fit_are_refused_with_both_shapes(lin: eq.LinearMap) -> None:
    with pytest.raises(eq.EqlinError, match=r"v is a tensor \[\.\.\., 11, 32\] of .* not a tensor of shape \[3, 32\]"):
        lin.apply(torch.zeros(3, 32))
    with pytest.raises(eq.EqlinError, match=r"u is a tensor \[\.\.\., 32\] of .* not a tensor of shape \[31\]"):
        lin.adjoint(torch.zeros(31))
    assert lin.apply(torch.zeros(0, 11, 32)).shape == (0, 32)
    assert lin.adjoint(torch.zeros(0, 32)).shape == (0, 11, 32)


def test_two_maps_of_one_model_do_not_disturb_each_other(lin: eq.LinearMap, variant: str) -> None:
    before = lin.contributions().clone()
    other = eq.linearize(llama(variant), token_ids=PROMPT[::-1])
    other.contributions()
    fresh = lin.apply(lin.inputs) + lin.bias
    assert relative(fresh, lin.output) < 1e-13
    torch.testing.assert_close(lin.contributions(), before, rtol=0, atol=0)
    assert relative(other.apply(other.inputs) + other.bias, other.output) < 1e-13
