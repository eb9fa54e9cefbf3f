"""The early triplets of single tokens against the dense spectra, what is worth computing early, and what it takes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from accelerate import cpu_offload

import eqlin_core as eq
from eqlin_core.analysis import early
from eqlin_core.analysis.prompt import spectrum_run
from eqlin_core.audit.families import tiny_model
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.maps.token_map import TokenMap
from eqlin_core.spectra.triplets import top_triplets
from tests.cases import PROMPT, default_model, family, llama, relative

K = 4
FAMILIES = ["llama", "gpt2", "gemma3", "qwen2", "mixtral"]  # gpt2 and qwen2 have biases, mixtral is not causal here
LONG = "The bridge out of Marin is the longest in the world and was built by people who loved the sea. "


def tiny(name: str = "llama", dtype: torch.dtype = torch.float64) -> LinearMap:
    return eq.linearize(family(name, dtype), token_ids=PROMPT)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which every matrix takes its time."""
    monkeypatch.setattr("eqlin_core.resources.plan.matrix_seconds", lambda *of: 1000.0)


@pytest.mark.parametrize("token", [0, len(PROMPT) - 4, len(PROMPT) - 1])
@pytest.mark.parametrize("name", FAMILIES)
def test_one_token_s_map_is_its_matrix_though_positions_are_left_out(name: str, token: int) -> None:
    lin = tiny(name)
    alone, matrix = TokenMap(lin, token), lin.jacobian()[token]
    assert alone.positions == (len(PROMPT) - token if lin.network.causal else len(PROMPT))
    rows = torch.randn(5, lin.width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    close = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-12)
    close(alone.apply(rows), rows @ matrix.T)
    close(alone.adjoint(rows), rows @ matrix)
    close(alone.apply(rows[:1]), rows[:1] @ matrix.T)  # the second time as well


def test_a_token_behind_the_position_has_no_map() -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT, position=2)
    behind = TokenMap(lin, 4)
    rows = torch.ones(2, lin.width, dtype=torch.float64)
    assert not behind.apply(rows).any()
    assert not behind.adjoint(rows).any()
    assert relative(TokenMap(lin, 1).apply(rows), rows @ lin.jacobian()[1].T) < 1e-12


def test_the_network_replays_all_positions_again_afterwards() -> None:
    lin = tiny("gpt2")
    TokenMap(lin, 3).adjoint(torch.ones(1, lin.width, dtype=torch.float64))
    assert lin.exactness().exact
    assert relative(lin.apply(lin.inputs) + lin.bias, lin.output) < 1e-12


@pytest.mark.parametrize("name", FAMILIES)
def test_early_triplets_are_those_of_the_dense_spectra(name: str) -> None:
    lin = tiny(name)
    tokens = [len(PROMPT) - 1, len(PROMPT) - 4, len(PROMPT) - 3]
    runs = list(early.early_spectra(lin, tokens, K))
    assert [run.there for run in runs] == [tuple(sorted(tokens[:n])) for n in (1, 2, 3)]
    found, dense = runs[-1], spectrum_run(lin, K)
    assert found.residual <= 1e-6
    for token in tokens:
        assert np.abs(found.S[token] - dense.S[token]).max() <= 1e-8 * dense.S[token, 0]
        assert (lin.output.numpy() @ found.U[token] >= 0).all()
        parts = [run.U[token] * run.S[token] @ run.Vh[token] for run in (found, dense)]
        assert np.linalg.norm(parts[0] - parts[1]) <= 1e-5 * dense.S[token, 0]
        np.testing.assert_allclose(found.projections[token], dense.projections[token], atol=1e-4)
        for mine, theirs in zip(found.reads_u[token], dense.reads_u[token], strict=True):
            assert mine[0][0] == theirs[0][0]
        assert found.reads_v[token][0][0][0] == dense.reads_v[token][0][0][0]


def test_what_is_not_known_yet_is_not_a_number() -> None:
    (run,) = early.early_spectra(tiny(), [2], K)
    others = [token for token in range(len(PROMPT)) if token != 2]
    assert np.isnan(run.stable_rank).all()
    assert np.isnan(run.S[others]).all()
    assert np.isnan(run.U[others]).all()
    assert run.reads_u[0] == []
    assert run.awaited == 1
    assert np.isfinite(run.S[2]).all()
    assert run.exactness.exact


@pytest.mark.slow
def test_late_tokens_take_fewer_positions_and_small_blocks_fewer_passes() -> None:
    lin = eq.linearize(default_model("float32"), token_ids=default_model("float32").encode(LONG)[:20])
    wide = top_triplets(lin, early.TRIPLETS, token=16)
    narrow = top_triplets(lin, early.TRIPLETS, token=16, tolerance=1e-3, block=3)
    assert narrow.passes <= 0.7 * wide.passes
    assert narrow.converged
    torch.testing.assert_close(narrow.S, wide.S, rtol=1e-4, atol=0)
    assert TokenMap(lin, 16).positions == 4


def test_the_most_important_tokens_that_cost_little_come_early_the_cheapest_first(slow: None) -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT * 4)
    size = lin.contributions().norm(dim=1)
    ranked = size.argsort(descending=True)[: early.RANKED].tolist()
    chosen = early.early_tokens(lin, 1)
    costs = [early._cost(lin, token, 1) for token in chosen]
    assert costs == sorted(costs)
    assert set(chosen) <= set(ranked)
    assert 0 < len(chosen) <= early.TOKENS
    assert sum(costs) <= 0.2 * lin.width * lin.n_tokens
    left_out = [token for token in ranked if token not in chosen]
    if len(chosen) < early.TOKENS:
        assert all(sum(costs) + early._cost(lin, token, 1) > 0.2 * lin.width * lin.n_tokens for token in left_out)


def test_nothing_comes_early_where_the_matrix_is_quick_there_or_cheap(
    slow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT * 4)
    assert early.early_tokens(lin, 1)
    assert early.early_tokens(lin, lin.width + 1) == []
    assert early.early_tokens(lin, lin.width) == [], "a fifth of the matrix's passes does not suffice"
    assert early.early_tokens(eq.linearize(llama("grouped", torch.bfloat16), token_ids=PROMPT * 4), 1) == []
    with monkeypatch.context() as full:
        full.setattr("eqlin_core.resources.budget.free_bytes", lambda device: 1000)
        assert early.early_tokens(lin, 1) == []
    with monkeypatch.context() as fast:
        fast.setattr("eqlin_core.resources.plan.matrix_seconds", lambda *of: 1.0)
        assert early.early_tokens(lin, 1) == []
    lin.jacobian()
    assert early.early_tokens(lin, 1) == []


def test_nothing_comes_early_of_a_model_whose_weights_are_offloaded(slow: None) -> None:
    lm = tiny_model("llama", torch.float64)
    cpu_offload(lm.model, execution_device=torch.device("cpu"))
    assert early.early_tokens(eq.linearize(lm, token_ids=PROMPT * 4), 1) == []


def test_a_token_that_is_not_found_in_time_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "expected_passes", lambda k, block: 5)
    lin = eq.linearize(llama(), token_ids=PROMPT)
    assert list(early.early_spectra(lin, [0, 2], K)) == []
    assert top_triplets(lin, K, token=0, block=2, most=10).converged is False


def test_it_is_cancelled_between_two_steps_and_the_map_stays_usable() -> None:
    lin = tiny()
    told: list[tuple[float, str]] = []

    def stop_at_the_second_token(fraction: float, message: str) -> bool:
        told.append((fraction, message))
        return fraction < 0.6

    with pytest.raises(eq.Cancelled):
        list(early.early_spectra(lin, [3, 0], K, stop_at_the_second_token))
    assert told[-1][0] >= 0.6
    assert {message for _, message in told} == {"Largest triplets of tokens with large contributions"}
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert lin.exactness().exact
