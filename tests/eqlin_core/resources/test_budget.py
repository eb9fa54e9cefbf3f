"""Chunks fit into what is free, and what cannot fit is refused with both numbers."""

from __future__ import annotations

import pytest
import torch

import eqlin_core as eq
from eqlin_core.resources import budget

CPU = torch.device("cpu")


def test_free_memory_is_what_the_machine_can_give() -> None:
    assert 2**20 < budget.free_bytes(CPU) < 2**50


@pytest.mark.parametrize(
    ("per_item", "given", "items"), [(100, 1000, 10), (101, 1000, 9), (5000, 1000, 1), (0, 10, 10)]
)
def test_a_chunk_holds_as_many_items_as_the_budget_and_never_none(per_item: int, given: int, items: int) -> None:
    assert budget.chunk_size(per_item, 1, CPU, given) == items


def test_without_a_budget_a_quarter_of_the_free_memory_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "free_bytes", lambda device: 4000)
    assert budget.chunk_size(100, 1, CPU) == 10


def test_on_a_cpu_a_chunk_does_not_outgrow_the_cache() -> None:
    assert budget.chunk_size(1, 100, CPU, 10**9) == budget.chunk_size(1, 100, CPU, 10**12)
    assert budget.chunk_size(1, 10**9, CPU, 10**12) == 1


def test_what_does_not_fit_is_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "free_bytes", lambda device: 2**30)
    budget.require(2**30, CPU, "The matrix", 7)
    with pytest.raises(eq.EqlinError, match=r"The matrix for 7 tokens needs 3\.0 GiB and 1\.0 GiB are free on cpu"):
        budget.require(3 * 2**30, CPU, "The matrix", 7)
