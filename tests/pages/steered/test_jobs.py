"""The steering jobs on a tiny model: an operator from a file steers, or is refused in a sentence."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any

import pytest
import torch

from eqlin_core import LanguageModel
from eqlin_core.audit.families import tiny_model
from eqlin_core.runs.steering import OperatorFile, SteeringPlan
from eqlin_core.steering.operators import operator_from_bytes
from pages.steered.jobs import file
from pages.worker.job import Snapshot
from pages.worker.request import Request
from pages.worker.worker import Reporter, Worker
from tests.eqlin_core.steering.steering_cases import CONCEPT, lm, operator

FILE = OperatorFile("bridge.safetensors", operator().to_bytes())
PLAN = SteeringPlan("", "a prompt", 2, file=FILE)


class TinyEngine:
    """In place of the engine: it holds one tiny model."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.operators: OrderedDict[Any, Any] = OrderedDict()

    def load(self, request: Request, progress: Reporter) -> Any:
        return self.model

    def kept(self, request: Request, name: str) -> OrderedDict[Any, Any]:
        assert name == "operators"
        return self.operators


def finished(worker: Worker, plan: SteeringPlan, model: Any = None, engine: TinyEngine | None = None) -> Snapshot:
    question, engine = file(Request(), plan), engine or TinyEngine(model or lm())
    job = worker.submit(question.key, lambda progress: question.work(engine, progress), label="it", visitor="ada")  # type: ignore[arg-type]
    assert job.wait(20)
    return job.snapshot("ada")


def test_an_operator_from_a_file_takes_the_place_of_the_concepts(worker: Worker) -> None:
    used = operator_from_bytes(finished(worker, PLAN).result, "used")
    assert used.header() == operator().header()
    assert torch.equal(used.J, operator().J)


def test_its_block_can_be_set_apart(worker: Worker) -> None:
    moved = finished(worker, replace(PLAN, block=2)).result
    assert operator_from_bytes(moved, "moved").block == 2
    assert operator().block == 1


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"no operator at all", "bridge.safetensors is damaged or no safetensors file: save the operator again."),
        (b"", "bridge.safetensors is damaged or no safetensors file: save the operator again."),
    ],
)
def test_a_file_that_is_no_operator_is_refused(worker: Worker, data: bytes, sentence: str) -> None:
    ended = finished(worker, replace(PLAN, file=OperatorFile("bridge.safetensors", data)))
    assert (ended.state, ended.error) == ("failed", sentence)


def test_an_operator_of_another_model_is_refused(worker: Worker) -> None:
    ended = finished(worker, PLAN, tiny_model("llama", num_hidden_layers=1))
    assert ended.state == "failed"
    assert ended.error.endswith(
        "does not fit tiny llama: it was made from 2 blocks, the model has 1; make it from this model."
    )


def test_a_concepts_operator_is_made_with_the_convention_of_the_plan(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LanguageModel, "encode", lambda lm, text: list(CONCEPT))  # it has no tokenizer
    plan, engine = SteeringPlan("a concept", "a prompt", 2), TinyEngine(lm())
    for path in ("up", "gate", "up"):
        made = finished(worker, replace(plan, gated_path=path), engine=engine).result
        assert operator_from_bytes(made, "made").header()["gated_path"] == path
