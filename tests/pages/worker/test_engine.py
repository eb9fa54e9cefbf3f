"""The engine behind the pages: the models that are loaded, which go when, and what is made of them once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eqlin_core
from eqlin_core import EqlinError
from eqlin_core.analysis.prompt import token_run
from eqlin_core.freezing.weights import FrozenWeights
from eqlin_core.models import weights
from eqlin_core.models.checkpoints import NoRoomError
from eqlin_core.resources.plan import plan_run
from pages.worker import analysis
from pages.worker import engine as engine_module
from pages.worker import models as models_module
from pages.worker.engine import Engine
from pages.worker.models import Loaded, Models
from pages.worker.question import question
from pages.worker.request import Request
from pages.worker.texts import read
from pages.worker.worker import Reporter
from tests.cases import PROMPT, llama
from tests.eqlin_core.odd_calls import tiny_with_chat
from tests.pages.worker.worker_cases import Gate


class Quiet:
    """What a job reports to; ``said`` holds what it read."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, fraction: float | None = None, message: str = "") -> None:
        self.said.append(message)

    def publish(self, name: str, value: Any) -> None: ...

    def alone_with(self, thing: Any) -> Any:
        return nullcontext()


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    made.models.loaded["loaded", "float32"] = Loaded("the loaded model")  # type: ignore[arg-type]
    made.kept(Request(model="loaded"), "operators")["one"] = "made for the loaded model"
    yield made
    assert made.worker.shutdown()


@pytest.mark.parametrize("name", ["missing.gguf", "empty.gguf", "empty"])
def test_a_name_that_leads_nowhere_leaves_the_loaded_model(engine: Engine, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.gguf").write_bytes(b"")
    with pytest.raises(EqlinError):
        engine.load(Request(model=str(tmp_path / name)), Quiet())  # type: ignore[arg-type]
    assert engine.load(Request(model="loaded"), Quiet()) == "the loaded model"  # type: ignore[arg-type]
    assert engine.kept(Request(model="loaded"), "operators") == {"one": "made for the loaded model"}


class Shelf:
    """In place of ``load_model``: tiny models, of which so many fit beside each other."""

    def __init__(self, models: Models, fitting: int) -> None:
        self.models, self.fitting, self.loads = models, fitting, [""][:0]

    def __call__(self, name: str, dtype: str, progress: Any) -> Any:
        if len(self.models.loaded) >= self.fitting:
            raise NoRoomError(f"{name} needs more memory than is free.")
        self.loads.append(name)
        return llama.__wrapped__("grouped", torch.float32)  # a new one each time


def shelf(monkeypatch: pytest.MonkeyPatch, fitting: int) -> tuple[Models, Shelf]:
    models = Models()
    made = Shelf(models, fitting)
    monkeypatch.setattr(eqlin_core, "load_model", made)
    monkeypatch.setattr(models_module, "FREE_SHARE", 0.0)
    return models, made


def test_visitors_with_different_models_keep_both_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    models, made = shelf(monkeypatch, fitting=2)
    for name in ("a", "b", "a", "b"):
        if models.find(Request(model=name)) is None:
            models.load(Request(model=name), Quiet())  # type: ignore[arg-type]
    assert made.loads == ["a", "b"]


def test_without_room_the_model_not_used_for_longest_goes_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    models, made = shelf(monkeypatch, fitting=2)
    for name in ("a", "b"):
        models.load(Request(model=name), Quiet())  # type: ignore[arg-type]
    assert models.find(Request(model="a")) is not None
    models.load(Request(model="c"), Quiet())  # type: ignore[arg-type]
    assert [name for name, _ in models.loaded] == ["a", "c"]
    told = Quiet()
    models.load(Request(model="b"), told)  # type: ignore[arg-type]
    assert told.said[0] == "Loading b again: another model had taken its place"
    assert [name for name, _ in models.loaded] == ["c", "b"]
    assert made.loads == ["a", "b", "c", "b"]


def test_a_model_that_fits_nowhere_is_refused_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    models, _ = shelf(monkeypatch, fitting=0)
    with pytest.raises(EqlinError, match="needs more memory than is free"):
        models.load(Request(model="a"), Quiet())  # type: ignore[arg-type]


def test_an_older_model_goes_when_little_memory_is_left_for_work(monkeypatch: pytest.MonkeyPatch) -> None:
    models, _ = shelf(monkeypatch, fitting=9)
    monkeypatch.setattr(models_module, "FREE_SHARE", 1.1)  # more than there is
    for name in ("a", "b"):
        models.load(Request(model=name), Quiet())  # type: ignore[arg-type]
    assert [name for name, _ in models.loaded] == ["b"]


def test_after_a_model_went_its_memory_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    models, _ = shelf(monkeypatch, fitting=9)
    request = Request(model="a")
    model = models.load(request, Quiet())  # type: ignore[arg-type]
    lin = eqlin_core.linearize(model, token_ids=PROMPT[:5])
    models.keep_map(request, lin, plan_run(model, 5))
    gone = [weakref.ref(model.model), weakref.ref(lin.network), weakref.ref(lin.inputs)]
    del model, lin
    gc.disable()
    try:
        models.let_all_go()
        assert [ref() for ref in gone] == [None] * 3
    finally:
        gc.enable()


def test_the_oldest_maps_go_when_they_take_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    models, _ = shelf(monkeypatch, fitting=9)
    model = models.load(Request(model="a"), Quiet())  # type: ignore[arg-type]
    plan = plan_run(model, 5)
    requests = [Request(f"prompt {n}", "a") for n in range(5)]
    monkeypatch.setattr(models_module, "MAP_BYTES", 3 * (plan.recorded_bytes + plan.matrix_bytes))
    for request in requests:
        models.make_room_for(plan)
        models.keep_map(request, eqlin_core.linearize(model, token_ids=PROMPT[:5]), plan)
    assert [request for request in requests if models.map_of(request)] == requests[-3:]
    monkeypatch.setattr(models_module, "MAP_BYTES", 1 << 40)
    monkeypatch.setattr(models_module, "MOST_MAPS", 2)
    models.make_room_for(plan)
    assert [request for request in requests if models.map_of(request)] == requests[-1:]


def test_weights_that_changed_on_the_disk_are_found_said_and_thrown_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models, made = shelf(monkeypatch, fitting=9)
    request = Request(model="a")
    assert models.damage(request) == ""
    model = models.load(request, Quiet())  # type: ignore[arg-type]
    (tmp_path / "model.safetensors").write_bytes(b"whole")
    monkeypatch.setattr(weights, "folder_of", lambda lm: tmp_path)
    monkeypatch.setattr(weights, "is_due", lambda folder: True)
    monkeypatch.setattr(weights, "checksums", lambda folder: {tmp_path / "model.safetensors": "0" * 64})
    models.begin_check(request)
    check = models.loaded["a", "float32"].check
    assert check is not None
    assert check.wait(5) == "changed"
    models.begin_check(request)
    assert models.loaded["a", "float32"].check is check, "once"
    assert "model.safetensors" in models.damage(request)
    models.throw_away(request)
    assert not (tmp_path / "model.safetensors").exists()
    assert models.find(request) is None
    assert models.damage(request) == ""
    models.load(request, Quiet())  # type: ignore[arg-type]
    assert made.loads == ["a", "a"]
    assert model is not None


@question("long work")
def long_work(engine: Any, progress: Reporter, request: Request, gate: Gate) -> Any:
    """Work that waits at a gate."""
    return gate(progress)


def test_long_work_on_one_prompt_is_done_one_by_one_for_everybody(engine: Engine) -> None:
    request, first, second, other = Request("same"), Gate(), Gate(), Gate()
    jobs = [
        engine.submit(long_work(request, first), "ada"),
        engine.submit(long_work(request, second), "bob"),
        engine.submit(long_work(Request("other"), other), "eve"),
    ]
    assert first.entered.wait(5)
    for gate in (other, first):
        gate.open.set()
    assert jobs[0].wait(5)
    assert second.entered.wait(5)
    second.open.set()
    assert all(job.wait(5) for job in jobs)


@pytest.fixture
def answering() -> Iterator[Engine]:
    """An engine with a tiny model that reads every text and chat."""
    made = Engine()
    made.models.loaded["tiny", "float64"] = Loaded(tiny_with_chat())
    yield made
    assert made.worker.shutdown()


ANSWERED = Request("the bridge", "tiny", "float64", answer=" is red", position=4)  # of 2 tokens and 7


@pytest.mark.parametrize("dials", [{}, {"gated_path": "half", "attention": "half"}])
def test_a_position_of_an_answer_has_the_numbers_of_a_map_of_its_own(answering: Engine, dials: dict[str, Any]) -> None:
    request, quiet = replace(ANSWERED, **dials), Quiet()
    own = token_run(answering.linear_map(request, quiet), "own")  # type: ignore[arg-type]
    shared = analysis.tokens(request).work(answering, quiet)  # type: ignore[arg-type]
    assert shared.key == own.key, "what comes after the position is not part of it"
    assert shared.tokens == own.tokens
    for name in ("contributions", "bias", "output", "expected"):
        np.testing.assert_allclose(getattr(shared, name), getattr(own, name), rtol=1e-9, atol=1e-12)
    follows = read(answering.load(request, quiet), request).token_ids[5]  # type: ignore[arg-type]
    assert follows in [target.token_id for target in shared.targets]
    likely = {target.token_id: target.probability for target in shared.targets}
    assert {t.token_id: likely[t.token_id] for t in own.targets} == {
        t.token_id: pytest.approx(t.probability, rel=1e-9) for t in own.targets
    }


@pytest.mark.parametrize("request_", [ANSWERED, replace(ANSWERED, answer="", position=None)])
def test_a_next_token_is_found_by_its_id(answering: Engine, request_: Request) -> None:
    run = analysis.tokens(request_).work(answering, Quiet())  # type: ignore[arg-type]
    for likely in run.targets[:3]:
        found = analysis.target_of(request_, likely.token_id).work(answering, Quiet())  # type: ignore[arg-type]
        assert (found.token_id, found.token) == (likely.token_id, likely.token)
        assert (found.logit, found.probability) == (pytest.approx(likely.logit), pytest.approx(likely.probability))
        np.testing.assert_array_equal(found.row, likely.row)


def test_all_positions_of_an_answer_share_one_recording(answering: Engine) -> None:
    quiet = Quiet()
    for position in (1, 4, 2, 8):
        found = answering.position_of_answer(replace(ANSWERED, position=position), quiet)  # type: ignore[arg-type]
        assert found is not None
        assert found.position == position
    assert quiet.said.count("Recording the frozen network") == 1


def test_the_positions_of_an_answer_go_with_the_map_of_its_text_and_their_memory_is_counted_and_free(
    answering: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, plan = answering.models, plan_run(answering.load(ANSWERED, Quiet()), 9)  # type: ignore[arg-type]
    found = answering.position_of_answer(ANSWERED, Quiet())  # type: ignore[arg-type]
    assert found is not None
    kept = models.map_of(ANSWERED.whole)
    assert kept is not None
    found.contributions()
    held = sum(one.contributions().nbytes for one in kept.positions)
    assert kept.nbytes - plan.recorded_bytes - plan.matrix_bytes == held > 0
    gone: list[weakref.ref[Any]] = [weakref.ref(found.network), *map(weakref.ref, kept.positions)]
    del found, kept
    monkeypatch.setattr(models_module, "MAP_BYTES", plan.recorded_bytes + plan.matrix_bytes)
    gc.disable()
    try:
        models.make_room_for(plan)
        assert [ref() for ref in gone] == [None] * len(gone)
    finally:
        gc.enable()
    assert not models.loaded["tiny", "float64"].maps


def test_older_maps_go_for_the_positions_of_an_answer_and_its_own_stays(
    answering: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet, other = Quiet(), replace(ANSWERED.whole, answer=" is")
    for request in (other, ANSWERED.whole):
        answering.linear_map(request, quiet)  # type: ignore[arg-type]
    maps = answering.models.loaded["tiny", "float64"].maps
    monkeypatch.setattr(models_module, "MAP_BYTES", sum(kept.nbytes for kept in maps.values()))
    for position in (3, 4):
        assert answering.position_of_answer(replace(ANSWERED, position=position), quiet) is not None  # type: ignore[arg-type]
    assert list(maps) == [ANSWERED.whole]
    assert quiet.said.count("Recording the frozen network") == 2, "once each"
    monkeypatch.setattr(models_module, "MAP_BYTES", 1)
    assert answering.position_of_answer(ANSWERED, quiet) is not None  # type: ignore[arg-type]
    assert list(maps) == [ANSWERED.whole], "the newest stays"


@pytest.mark.parametrize("changes", [{"position": None}, {"answer": ""}, {"position": 0}, {"position": 9}])
def test_what_is_no_position_of_an_answer_gets_a_map_of_its_own(answering: Engine, changes: dict[str, Any]) -> None:
    assert answering.position_of_answer(replace(ANSWERED, **changes), Quiet()) is None  # type: ignore[arg-type]


def test_a_model_whose_positions_may_read_later_ones_gets_a_map_for_each(
    answering: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FrozenWeights, "ordered", False)
    assert answering.position_of_answer(ANSWERED, Quiet()) is None  # type: ignore[arg-type]


def test_texts_that_are_too_long_are_not_kept_at_all_positions(
    answering: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "POSITION_BYTES", 1)
    assert answering.position_of_answer(ANSWERED, Quiet()) is None  # type: ignore[arg-type]
