"""Models in several places: the graph keeps no weight that is elsewhere, and the plan says what runs where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import disk_offload

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from eqlin_core.models.offloading import Share, shares
from eqlin_core.models.sites import find_layers
from eqlin_core.resources import plan
from tests.cases import PROMPT, family
from tests.eqlin_core.models.test_offloading import offload

CPU = torch.device("cpu")
PATH = ("v_proj", "o_proj", "up_proj", "down_proj")


class Counting(Mapping[str, Any]):
    """Weights by name, which notes how often each is asked for."""

    def __init__(self, weights: Mapping[str, Any]) -> None:
        self.weights, self.asked = weights, 0

    def __getitem__(self, name: str) -> Any:
        self.asked += 1
        return self.weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


def test_a_reverse_pass_brings_each_weight_on_the_path_once_more(tmp_path: Path) -> None:
    """So the recorded graph does not hold it in between."""
    lm = tiny_model("llama")
    disk_offload(lm.model, str(tmp_path), execution_device=CPU)
    counts = {}
    for name, module in lm.model.named_modules():
        if name.endswith((*PATH, "q_proj", "gate_proj")):
            hook = module._hf_hook
            hook.weights_map = counts[name] = Counting(hook.weights_map)
    lin = eq.linearize(lm, token_ids=PROMPT)
    for counted in counts.values():
        counted.asked = 0
    rows = lin.adjoint(torch.eye(lin.width, dtype=torch.float64))
    assert {name: c.asked for name, c in counts.items()} == {name: int(name.endswith(PATH)) for name in counts}
    expected = eq.linearize(family("llama"), token_ids=PROMPT).adjoint(torch.eye(lin.width, dtype=torch.float64))
    torch.testing.assert_close(rows, expected, rtol=0, atol=0)


def test_a_model_in_one_place_is_one_share_without_a_word_in_the_plan() -> None:
    lm = family("llama")
    assert plan.plan_run(lm, 5).shares == (Share(CPU, lm.n_layers, 0),)
    assert "blocks" not in plan.plan_run(lm, 5).sentence()


@pytest.mark.parametrize(("how", "away"), [("everything on disk", 1.0), ("every other layer on disk", 0.5)])
def test_the_plan_says_what_is_brought_for_every_pass(how: str, away: float, tmp_path: Path) -> None:
    lm = tiny_model("llama")
    blocks = find_layers(lm.model.get_decoder(), lm.n_layers)
    size = sum(p.numel() * p.element_size() for p in blocks.parameters())
    here = plan.plan_run(lm, 5)
    offload(lm, how, tmp_path)
    planned = plan.plan_run(lm, 5)
    share = lm.n_layers // 2 / lm.n_layers if away < 1 else 1.0
    assert planned.shares == (Share(CPU, lm.n_layers, int(size * share)),)
    assert f"{lm.n_layers} blocks run on cpu; " in planned.sentence()
    assert planned.sentence().endswith("of weights are brought from main memory or the disk for every pass.")
    assert planned.host_bytes == here.host_bytes


def test_each_device_needs_room_for_its_own_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two devices, as accelerate spreads a model over two GPUs: each keeps the coefficients of its own blocks."""
    lm = family("llama")
    first, second = torch.device("cuda", 0), torch.device("cuda", 1)
    free = {first: 10**9, second: 10**9, CPU: 10**9}
    monkeypatch.setattr(plan, "_shares", lambda lm: [Share(first, 1, 0), Share(second, lm.n_layers - 1, 0)])
    monkeypatch.setattr("eqlin_core.resources.budget.free_bytes", lambda device: free[device])
    monkeypatch.setattr(plan, "product_rate", lambda device, dtype: 1e12)
    planned = plan.plan_run(lm, 5)
    assert planned.device == "cuda:1"
    assert planned.recorded_bytes == plan.recorded_bytes(lm, 5) * (lm.n_layers - 1) // lm.n_layers
    assert f"1 block runs on cuda:0 and {lm.n_layers - 1} blocks run on cuda:1." in planned.sentence()
    assert planned.matrix_device == "cpu"
    assert "kept in memory" in planned.sentence()
    assert planned.host_bytes == planned.matrix_bytes, "it lies where the embeddings are, and no block does"
    free[first] = 1000
    with pytest.raises(eq.EqlinError, match="are free on cuda:0"):
        plan.plan_run(lm, 5)


def test_rows_fit_on_every_device_and_take_the_time_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = family("llama")
    first, second = torch.device("cuda", 0), torch.device("cuda", 1)
    rates = {first: 3e9, second: 1e9, CPU: 1e9}
    free = {first: 10**10, second: 10**6, CPU: 10**10}
    monkeypatch.setattr("eqlin_core.resources.budget.free_bytes", lambda device: free[device])
    monkeypatch.setattr(plan, "product_rate", lambda device, dtype: rates[device])
    alone = plan.chunk_rows(lm, 5, first), plan.matrix_seconds(lm, 5, second)
    monkeypatch.setattr(plan, "_shares", lambda lm: [Share(first, 1, 0), Share(second, 1, 0)])
    assert plan.chunk_rows(lm, 5, first) == 10**6 // 4 // plan.row_bytes(lm, 5) < alone[0]
    assert plan.matrix_seconds(lm, 5, first) == pytest.approx(alone[1] * (1 / 3 + 1) / 2)


def test_shares_follow_the_device_of_each_block() -> None:
    blocks = torch.nn.ModuleList([torch.nn.Linear(2, 2, device=d) for d in ("cpu", "meta", "cpu")])
    assert shares(blocks, CPU) == [Share(CPU, 3, 24)]
