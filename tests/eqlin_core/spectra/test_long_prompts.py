"""Prompts of hundreds of tokens with the real default model, within a few gigabytes."""

from __future__ import annotations

import pytest
import torch

import eqlin_core as eq
from eqlin_core.resources.plan import plan_run
from tests.benchmarks.measure import MIB, peak_memory
from tests.cases import default_model

TOKENS = 10
WORDS = "The bridge out of Marin is the longest in the world and was built by people who loved the sea. "


def take_apart(tokens: int, memory_budget: int | None, k: int) -> tuple[eq.LinearMap, eq.Spectrum, int]:
    """The map of a prompt of so many tokens, its spectra, and the bytes that it took at most beside the model."""
    lm = default_model("float32")
    ids = (lm.encode(WORDS) * tokens)[:tokens]
    with peak_memory() as peak:
        lin = eq.linearize(lm, token_ids=ids, memory_budget=memory_budget)
        lin.contributions()
        found = eq.spectrum(lin, k)
    return lin, found, peak[0]


def check(lin: eq.LinearMap, found: eq.Spectrum, tokens: int) -> None:
    """Every token has its spectrum, and the whole map is exact."""
    assert found.S.shape[0] == tokens
    assert bool((found.S[:, :-1] >= found.S[:, 1:]).all())
    assert bool((found.stable_rank >= 1).all())
    token = int(lin.contributions().norm(dim=1).argmax())
    expected = torch.linalg.svdvals(lin.jacobian()[token].double())
    torch.testing.assert_close(found.S[token].double(), expected[: found.S.shape[1]], rtol=1e-4, atol=1e-4)
    assert lin.exactness().exact


@pytest.mark.slow
def test_a_small_budget_keeps_the_matrix_of_many_tokens_out_of_memory() -> None:
    """In a scratch file, whose pages the system takes back when it needs them: it is not counted here."""
    assert plan_run(default_model("float32"), TOKENS, memory_budget=TOKENS * 2 * MIB).place == "scratch file"
    lin, found, _ = take_apart(TOKENS, TOKENS * 2 * MIB, 4)
    whole = eq.linearize(lin.lm, token_ids=lin.token_ids)
    torch.testing.assert_close(lin.jacobian(), whole.jacobian(), rtol=1e-3, atol=1e-4)
    check(lin, found, TOKENS)


@pytest.mark.slow
def test_all_spectra_of_400_tokens_within_4_gib() -> None:
    lin, found, peak = take_apart(400, None, 8)
    assert peak < 4096 * MIB
    check(lin, found, 400)
