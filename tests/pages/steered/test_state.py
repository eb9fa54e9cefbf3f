"""The state behind the page Steering: stages arrive, errors and stops keep the last result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eqlin_core import EqlinError
from eqlin_core.runs.steering import Flip, Measured, SteeringGrid, SteeringPlan, Text
from pages.steered import state as steering_state
from pages.steered.jobs import guide
from pages.steered.sliders import nearest
from pages.steered.state import Steering
from pages.worker.question import Question
from pages.worker.request import Request
from pages.worker.worker import Job, Reporter, Worker
from tests.pages.run_cases import give

PLAN = SteeringPlan("a concept", "a prompt", 20)


def grid(plan: SteeringPlan = PLAN, ids: list[int] | None = None) -> SteeringGrid:
    texts = [Text(["a"], ids or [1], " a", False) for _ in plan.strengths]
    return SteeringGrid(plan, "model", "float32", plan.strengths, ["a", " prompt"], [], texts)


class Answers:
    """In place of the engine: every grid and every text is what ``work`` gives, every guide is its concept.

    ``comes`` is the grid that is shipped, of its own plan.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.work: Callable[[Reporter], Any] = lambda progress: grid()
        self.comes: SteeringGrid | None = None

    def shipped(self, question: Question[Any], visitor: str) -> Job | None:
        there = self.comes is not None and self.comes.plan in question.key
        return self.worker.ended(question.key, self.comes, question.label, visitor) if there else None

    def submit(self, question: Question[Any], visitor: str) -> Job:
        name, *asked = question.key
        if name == guide(Request(), "").key[0]:
            return self.worker.submit(question.key, lambda progress: asked[1], label="the guide", visitor=visitor)
        return self.worker.submit(object(), self.work, label=question.label, visitor=visitor)


@pytest.fixture
def jobs(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Answers:
    made_up = Answers(worker)
    give(monkeypatch, made_up)
    monkeypatch.setattr(steering_state, "source", Request)
    return made_up


def finish(state: Steering) -> None:
    for name in state.jobs.under_way:
        assert state.jobs.wait(name, 5)
    state.advance()


def test_a_finished_grid_is_shown(jobs: Answers) -> None:
    state = Steering("ada")
    state.ask(PLAN)
    finish(state)
    assert state.shown is not None
    assert state.shown.plan == PLAN
    assert not state.busy
    assert not state.advance(), "nothing is new any more"


def test_a_shipped_grid_is_there_at_once_and_computed_when_it_is_asked_for_once_more(jobs: Answers) -> None:
    jobs.comes = grid()
    state = Steering("ada")
    state.ask(PLAN)
    state.advance()
    assert (state.shown, state.shipped, state.busy) == (jobs.comes, True, False)
    for _ in range(2):
        state.ask(PLAN)
        finish(state)
        assert state.shown is not jobs.comes
        assert (state.shown, state.shipped) == (grid(), False)
    state.ask(replace(PLAN, prompt="another"))
    finish(state)
    assert not state.shipped


def test_a_stage_is_shown_before_the_whole_is_done(jobs: Answers) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def work(progress: Reporter) -> SteeringGrid:
        progress.publish("texts", ["a"])
        progress.publish("grid", grid())
        reached.set()
        assert go_on.wait(5)
        return replace(grid(), complete=True)

    jobs.work = work
    state = Steering("ada")
    state.ask(PLAN)
    assert reached.wait(5)
    assert state.advance()
    assert state.shown is not None
    assert not state.shown.complete
    assert state.busy
    assert not state.streaming, "the texts are complete"
    go_on.set()
    finish(state)
    assert state.shown.complete


def test_an_error_keeps_the_last_result(jobs: Answers) -> None:
    state = Steering("ada")
    state.ask(PLAN)
    finish(state)

    def fail(progress: Reporter) -> Any:
        raise EqlinError("The concept is empty: type the words that shall steer.")

    jobs.work = fail
    state.ask(replace(PLAN, concept=""))
    finish(state)
    assert state.error.startswith("The concept is empty")
    assert state.shown is not None
    assert state.shown.plan == PLAN
    state.ask(PLAN)
    assert state.error == ""


def test_stop_ends_the_generation_and_keeps_the_last_result(jobs: Answers) -> None:
    state = Steering("ada")
    state.ask(PLAN)
    finish(state)
    started = threading.Event()

    def forever(progress: Reporter) -> Any:
        while True:
            progress.publish("texts", ["a"])
            started.set()

    jobs.work = forever
    state.ask(replace(PLAN, prompt="another"))
    assert started.wait(5)
    assert state.streaming
    state.jobs.cancel()
    finish(state)
    assert state.stopped
    assert state.shown is not None
    assert state.shown.plan == PLAN


def whole_grid(plan: SteeringPlan) -> SteeringGrid:
    """Measured, and broken down at 1.3."""
    texts = [Text([], [1] * 8 if s > 1.25 else list(range(8)), "", False) for (s,) in plan.strengths]
    none = np.zeros(len(texts))
    return replace(grid(plan), texts=texts, measured=Measured(none, none, none))


def test_a_strength_is_suggested_once_for_a_concept_of_one_s_own(jobs: Answers) -> None:
    state = Steering("ada")
    jobs.work = lambda progress: whole_grid(PLAN)
    state.ask(PLAN)
    assert state.suggestion() is None, "nothing is there yet"
    finish(state)
    assert state.suggestion() == 1.2
    assert state.suggestion() is None
    other = replace(PLAN, prompt="another")
    jobs.work = lambda progress: whole_grid(other)
    state.ask(other)
    finish(state)
    assert state.suggestion() is None, "the concept is the same"
    newer = replace(PLAN, concept="a newer one")
    jobs.work = lambda progress: whole_grid(newer)
    state.ask(newer)
    state.placed = True  # by a hand, while it is being computed
    finish(state)
    assert state.suggestion() is None


def test_a_preset_brings_its_own_strength(jobs: Answers) -> None:
    preset = SteeringPlan("A dragon", "a prompt", 20, final_norm=False)
    jobs.work = lambda progress: whole_grid(preset)
    state = Steering("ada")
    state.ask(preset)
    finish(state)
    assert state.suggestion() is None


def test_a_text_between_the_strengths_stands_beside_the_grid(jobs: Answers) -> None:
    state = Steering("ada")
    state.ask(PLAN)
    finish(state)
    jobs.work = lambda progress: Text(["b"], [2], " b", False)
    state.generate((0.77,))
    finish(state)
    assert state.live_text is not None
    assert (state.live_text.text, state.live_strength) == (" b", (0.77,))
    state.ask(PLAN)
    assert state.live_text is None


def test_guides_of_the_form_and_of_what_is_shown_are_both_kept(jobs: Answers) -> None:
    state = Steering("ada")
    for concept in ("dragon", "ocean", "dragon"):
        assert state.guide(concept) == concept
    first = state.guides.snapshots
    assert state.guide("ocean") == "ocean"
    assert state.guides.snapshots == first, "nothing was looked up again"
    state.guide("cat")
    assert list(state.guides.snapshots) == [(Request(), "ocean"), (Request(), "cat")]


def test_the_grids_strengths_are_those_of_the_plan() -> None:
    assert PLAN.strengths[0] == (0.0,)
    assert PLAN.strengths[-1] == (2.0,)
    assert len(PLAN.strengths) == 21
    two = replace(PLAN, second="another")
    assert len(two.strengths) == 45
    assert grid(two).unsteered == 0
    other = replace(PLAN, form="interpolation")
    assert other.strengths[grid(other).unsteered] == (1.0,)
    assert nearest(PLAN.strengths, (0.77,)) == 8


def test_a_text_that_repeats_itself_has_broken_down() -> None:
    whole, broken = [1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 1, 2, 1, 2, 1, 2]
    steered = grid()
    texts = [Text([], whole if s < 1.3 else broken, "", False) for (s,) in steered.strengths]
    assert replace(steered, texts=texts).breaks_down == 1.3
    assert replace(steered, texts=texts).suggested == 1.2
    assert grid(ids=whole).breaks_down is None
    assert grid(ids=whole).suggested == 2.0
    assert grid().suggested is None, "too short to tell"
    assert grid(ids=broken).suggested is None
    assert grid(ids=broken).repeats_unsteered


def test_one_text_that_repeats_itself_is_no_breakdown_and_is_not_suggested() -> None:
    whole, broken = [1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 1, 2, 1, 2, 1, 2]
    steered = grid()
    texts = [Text([], broken if s in (0.3, 0.8) or s > 0.9 else whole, "", False) for (s,) in steered.strengths]
    assert replace(steered, texts=texts).breaks_down == 1.0
    assert replace(steered, texts=texts).suggested == 0.9
    texts[9] = texts[8]
    assert replace(steered, texts=texts).breaks_down == 0.8
    assert replace(steered, texts=texts).suggested == 0.7


def test_every_change_of_the_next_token_is_known() -> None:
    first = [1] * 4 + [2] * 6 + [1] * 11
    steered = grid()
    texts = [Text([f" {i}"], [i], f" {i}", False) for i in first]
    steered = replace(steered, texts=texts, flip=Flip(" 2", 2, 0.35, 0.34, " 1", 2.0))
    assert [(c.strength, c.token) for c in steered.changes] == [(0.35, " 2"), (1.0, " 1")]
    drawn = replace(steered, plan=replace(PLAN, temperature=1.0))
    assert [(c.strength, c.token) for c in drawn.changes] == [(0.35, " 2")]
