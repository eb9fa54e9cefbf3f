"""Computations on one model that give way to each other at every report give, bit for bit, what they give alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

import eqlin_core as eq
from eqlin_core.analysis.faithfulness import leave_one_out_run
from eqlin_core.analysis.layers import sweep_run
from eqlin_core.attribution.unfreezing import hidden_effects
from eqlin_core.audit.families import tiny_model
from eqlin_core.errors import Cancelled
from eqlin_core.maps.ordinary import ordinary_jacobian
from eqlin_core.maps.partial_freezing import partly_frozen
from eqlin_core.steering.operators import steering_operator
from eqlin_core.steering.steer import steer
from pages.worker import schedule
from pages.worker.worker import Reporter, Worker
from tests.cases import PROMPT

Work = Callable[[Any], list[Any]]


def works(lm: eq.LanguageModel) -> dict[str, Work]:
    """Everything that the pages compute, all on one model, two of them on one map; each in small chunks."""
    shared = eq.linearize(lm, token_ids=PROMPT[:6], memory_budget=60_000)
    operator = steering_operator(lm, token_ids=[9, 4, 31], layers=2)

    def fresh(**dials: Any) -> eq.LinearMap:
        return eq.linearize(lm, token_ids=PROMPT[:6], memory_budget=60_000, **dials)

    def steered(progress: Any) -> list[Any]:
        return [steer(lm, token_ids=PROMPT[:4], operator=operator, max_new_tokens=12, progress=progress).token_ids]

    def swept(progress: Any) -> list[Any]:
        seen: list[Any] = []
        run = sweep_run(fresh(), "cumulative", 2, progress, early=seen.append)
        return [run.U, run.u_scores, *(first.U for first in seen)]

    return {
        "matrix": lambda progress: [shared.jacobian(progress=progress)],
        "the same matrix": lambda progress: [shared.jacobian(progress=progress)],
        "contributions": lambda progress: [shared.contributions(progress=progress)],
        "half": lambda progress: [fresh(gated_path="half", attention="half").jacobian(progress=progress)],
        "gate": lambda progress: [fresh(gated_path="gate").jacobian(progress=progress)],
        "steered": steered,
        "steered again": steered,
        "ordinary": lambda progress: [ordinary_jacobian(lm, token_ids=PROMPT[:6], progress=progress)],
        "fewer rules": lambda progress: [partly_frozen(fresh(), ("norms",), progress=progress).contributions],
        "left out": lambda progress: [leave_one_out_run(shared, [3, 5], progress=progress).logits],
        "hidden": lambda progress: [hidden_effects(shared, lm.unembedding[:2], progress=progress).gates],
        "layers": swept,
    }


def as_tensors(values: list[Any]) -> list[torch.Tensor]:
    return [torch.as_tensor(value).clone() for value in values]


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_what_gives_way_at_every_report_computes_the_same(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(schedule, "LONG_AT_ONCE", 100)
    lm = tiny_model(family)
    alone = {name: as_tensors(work(lambda *_: None)) for name, work in works(lm).items()}
    before = (lm.model.config._attn_implementation, lm.model.config._experts_implementation)
    turns: list[str] = []

    def noting(name: str, work: Work) -> Callable[[Reporter], list[torch.Tensor]]:
        def run(progress: Reporter) -> list[torch.Tensor]:
            def told(fraction: Any, message: str) -> None:
                turns.append(name)
                progress(fraction, message)

            return as_tensors(work(told))

        return run

    every = {name: noting(name, work) for name, work in works(lm).items()}
    worker = Worker()
    try:
        jobs = {n: worker.submit(n, work, label=n, visitor=n) for n, work in every.items()}
        for name, job in jobs.items():
            assert job.wait(120), name
            assert not job.snapshot().error, job.snapshot().error
            for got, expected in zip(job.snapshot().result, alone[name], strict=True):
                assert torch.equal(got, expected), name
    finally:
        assert worker.shutdown()
    changes = sum(a != b for a, b in itertools.pairwise(turns))
    assert changes > len(turns) / 3, "they did take turns"
    assert (lm.model.config._attn_implementation, lm.model.config._experts_implementation) == before
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in lm.model.modules())


def test_one_that_is_cancelled_in_the_middle_leaves_the_others_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(schedule, "LONG_AT_ONCE", 100)
    lm = tiny_model("llama")
    every = works(lm)
    alone = {name: as_tensors(work(lambda *_: None)) for name, work in every.items()}

    def ending(work: Work) -> Work:
        left = iter(range(3))

        def told(progress: Any) -> Any:
            def report(fraction: Any, message: str) -> None:
                if next(left, None) is None:
                    raise Cancelled
                progress(fraction, message)

            return report

        return lambda progress: work(told(progress))

    ends, stays = works(lm), works(lm)  # made before the worker runs anything: the model is the worker's then
    worker = Worker()
    try:
        for name in ("matrix", "steered", "half"):
            worker.submit(f"{name} that ends", ending(ends[name]), label=name, visitor=f"{name} that ends")
        jobs = {n: worker.submit(n, w, label=n, visitor=n) for n, w in stays.items()}
        for name, job in jobs.items():
            assert job.wait(120), name
            for got, expected in zip(as_tensors(job.snapshot().result), alone[name], strict=True):
                assert torch.equal(got, expected), name
    finally:
        assert worker.shutdown()
