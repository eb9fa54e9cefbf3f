"""What page Layers is given says the same as the sweep and the split that it was taken from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import eqlin_core as eq
from eqlin_core.analysis.layers import heads_run, sweep_run
from eqlin_core.runs.layers import HeadsRun, SweepRun
from tests.cases import PROMPT, llama

T = len(PROMPT)


@pytest.fixture(scope="module")
def lin() -> eq.LinearMap:
    return eq.linearize(llama("affine"), token_ids=PROMPT)


@pytest.fixture(scope="module")
def run(lin: eq.LinearMap) -> SweepRun:
    return sweep_run(lin, "cumulative", k=4)


@pytest.fixture(scope="module")
def heads(lin: eq.LinearMap) -> HeadsRun:
    return heads_run(lin, (5, 9, 11))


def test_columns_are_the_tokens_and_the_joint_map(run: SweepRun) -> None:
    sweep = eq.layer_sweep(llama("affine"), token_ids=PROMPT, k=4)
    assert run.columns == [*sweep.tokens, "joint"]
    np.testing.assert_allclose(run.S[:, :, :-1], sweep.S.numpy())
    np.testing.assert_allclose(run.S[:, :, -1], sweep.joint.S.numpy())
    np.testing.assert_allclose(run.stable_rank[..., -1], sweep.joint.stable_rank.numpy())
    assert run.reads("u", 1, "mlp", 3, 2) == sweep.read_u(1, "mlp", 3, triplet=2)
    assert run.reads("v", 2, "attn", T, 0) == sweep.read_v(2, "attn", None)
    assert run.exact
    assert run.method == sweep.method


def test_a_run_holds_plain_arrays(run: SweepRun, heads: HeadsRun) -> None:
    for result in (run, heads):
        values = [getattr(result, field.name) for field in dataclasses.fields(result)]
        assert sum(isinstance(value, np.ndarray) for value in values) >= 8
        assert all(isinstance(v, np.ndarray | str | int | tuple | list | dict) or v is result.key for v in values)


def test_the_path_ends_at_the_last_layer_s_own_vectors(run: SweepRun) -> None:
    path = run.path("layer", T)
    assert path.shape == (3, 2, 2)
    np.testing.assert_allclose(path[-1], np.eye(2), atol=1e-12)
    assert np.abs(path[0] - np.eye(2)).max() > 0.1
    np.testing.assert_allclose(path[:, 0, 0], run.cosines_with_last("layer", 0)[:, T])
    np.testing.assert_allclose(run.cosines_with_last("layer", 1)[-1], 1)


def test_the_first_layer_of_a_token_is_found_in_every_column_and_in_the_value(run: SweepRun) -> None:
    wanted = int(run.u_ids[1, 0, T, 0, 0])
    columns, _ = run.first_layers(wanted, "layer", 0, within=1)
    assert columns.shape == (T + 1,)
    assert columns[T] in (0, 1)
    for column, layer in enumerate(columns):
        reads = run.u_ids[:, 0, column, 0, 0] == wanted
        assert (layer == -1 and not reads.any()) or (reads[layer] and not reads[:layer].any())
    value = int(run.y_ids[2, 0, 0])
    layer = run.first_layers(value, "layer", 0, within=1)[1]
    assert run.y_ids[layer, 0, 0] == value
    assert (run.y_ids[:layer, 0, 0] != value).all()


def test_tokens_that_are_read_somewhere_come_with_the_most_frequent_first(run: SweepRun) -> None:
    ids = run.read_tokens("attn", 1)
    everywhere = [*run.u_ids[:, 1, :, 1, 0].ravel(), *run.y_ids[:, 1, 0]]
    assert set(ids) == set(everywhere)
    counts = [everywhere.count(i) for i in ids]
    assert counts == sorted(counts, reverse=True)


def test_layer_wise_runs_start_at_the_block(lin: eq.LinearMap) -> None:
    run = sweep_run(lin, "layerwise", k=2)
    assert (run.mode, run.method) == ("layerwise", "block by block")
    step = eq.linearize(llama("affine"), token_ids=PROMPT, source=eq.Site(1, "input"), target=eq.Site(1, "mlp"))
    np.testing.assert_allclose(run.S[1, 2, :-1], eq.spectrum(step, k=2).S.numpy(), rtol=1e-10, atol=1e-12)


def test_the_heads_of_two_tokens_are_compared_by_their_difference(heads: HeadsRun, lin: eq.LinearMap) -> None:
    w = lin.lm.unembedding
    expected = eq.head_contributions(lin, (w[9] - w[5])[None])[0].numpy()
    np.testing.assert_allclose(np.einsum("m,mlht->lht", heads.weights(9, 5), heads.heads), expected, atol=1e-12)
    np.testing.assert_allclose(heads.weights(11), [0, 0, 1, 0])
    np.testing.assert_allclose(heads.weights(11, None, "log-probability"), [0, 0, 1, -1])
    np.testing.assert_allclose(heads.weights(9, 5, "log-probability"), heads.weights(9, 5))
    parts = [heads.embedding.sum(1), heads.attn.sum((1, 2)), heads.mlp.sum((1, 2))]
    biases = [heads.attn_bias.sum(1), heads.mlp_bias.sum(1), heads.other_bias]
    np.testing.assert_allclose(sum([*parts, *biases]), heads.total, rtol=1e-12, atol=1e-12)
