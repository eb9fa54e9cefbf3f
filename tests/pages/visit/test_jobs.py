"""The life of a visitor's jobs: asked once, replaced, stopped, and their end taken in once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eqlin_core import EqlinError
from pages.visit import jobs as jobs_module
from pages.visit.jobs import Jobs
from pages.worker.question import Question
from pages.worker.worker import Job, Reporter, Worker
from tests.pages.run_cases import give
from tests.pages.worker.worker_cases import Gate, giving, raising


class Answering:
    """In place of the engine: a question's work needs no model."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.asked: list[Any] = []
        self.comes: dict[Any, Any] = {}  # answers that are shipped

    def shipped(self, question: Question[Any], visitor: str) -> Job | None:
        answer = self.comes.get(question.key)
        return None if answer is None else self.worker.ended(question.key, answer, question.label, visitor)

    def submit(self, question: Question[Any], visitor: str) -> Job:
        self.asked.append(question.key[0])
        return self.worker.submit(question.key, lambda p: question.work(self, p), label="it", visitor=visitor)  # type: ignore[arg-type]


def asking(key: str, work: Callable[[Reporter], Any]) -> Question[Any]:
    return Question((key,), key, False, lambda _engine, progress: work(progress))


@pytest.fixture
def engine(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Answering:
    made_up = Answering(worker)
    give(monkeypatch, made_up)
    return made_up


@pytest.fixture
def held(engine: Answering, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The work of a question that goes on until it is let through; nobody waits for it before drawing."""
    monkeypatch.setattr(jobs_module, "WAIT_BEFORE_DRAWING", 0.01)
    gate = Gate("answer")
    yield gate
    gate.open.set()


@pytest.fixture
def jobs(engine: Answering) -> Jobs:
    return Jobs("ada")


def ended(jobs: Jobs, name: str) -> None:
    assert jobs.wait(name, 5)


def test_an_end_is_taken_in_once(jobs: Jobs) -> None:
    jobs.start("name", asking("key", giving("answer")))
    ended(jobs, "name")
    assert jobs.busy, "nobody has seen the end yet"
    assert {name: job.result for name, job in jobs.advance().items()} == {"name": "answer"}
    assert not jobs.busy
    assert jobs.advance() == {}
    assert jobs.snapshots["name"].result == "answer", "the answer stays"


def test_what_is_drawn_at_once_is_taken_in(jobs: Jobs) -> None:
    assert jobs.look("name", asking("key", giving("answer"))).result == "answer"
    assert not jobs.busy


def test_the_same_question_is_asked_once_and_another_takes_its_place(jobs: Jobs, engine: Answering) -> None:
    for _ in range(3):
        jobs.look("name", asking("first", giving(1)))
    assert jobs.look("name", asking("second", giving(2))).result == 2
    assert engine.asked == ["first", "second"]
    assert list(jobs.snapshots) == ["name"]


def test_a_shipped_answer_is_taken_where_it_will_do_and_computed_where_it_will_do_no_more(
    jobs: Jobs, engine: Answering
) -> None:
    engine.comes["key",] = "shipped"
    question = asking("key", giving("computed"))
    for _ in range(2):
        assert jobs.look("name", question, shipped=True).result == "shipped"
        assert jobs.is_shipped("name")
    assert engine.asked == []
    for _ in range(2):
        assert jobs.look("name", question).result == "computed"
        assert not jobs.is_shipped("name")
    assert engine.asked == ["key"]
    assert jobs.look("another", asking("other", giving(1)), shipped=True).result == 1, "none is shipped"
    assert not jobs.is_shipped("another")


def test_a_failed_question_is_not_asked_again_until_it_is_given_up(jobs: Jobs, engine: Answering) -> None:
    failing = asking("key", raising(EqlinError("It does not fit.")))
    for _ in range(2):
        assert jobs.look("name", failing).error == "It does not fit."
    assert engine.asked == ["key"]
    jobs.leave("name")
    jobs.look("name", failing)
    assert engine.asked == ["key", "key"]


def test_what_is_replaced_is_stopped(jobs: Jobs, held: Gate, worker: Worker) -> None:
    jobs.start("name", asking("first", held))
    assert held.entered.wait(5)
    jobs.start("name", asking("second", giving(2)))
    ended(jobs, "name")
    assert [job.label for job in worker.queue()] == []
    assert jobs.advance()["name"].result == 2


def test_a_cancelled_job_is_under_way_until_its_end_was_seen(jobs: Jobs, held: Gate) -> None:
    jobs.start("name", asking("key", held))
    assert held.entered.wait(5)
    jobs.cancel()
    ended(jobs, "name")
    assert [job.state for job in jobs.advance().values()] == ["cancelled"]
    assert not jobs.busy


def test_the_job_to_follow_is_the_one_that_runs_else_the_oldest(jobs: Jobs, gate: Gate, held: Gate) -> None:
    jobs.start("older", asking("older", giving(1)))
    jobs.start("urgent", Question(("urgent",), "urgent", True, lambda _engine, progress: held(progress)))
    assert jobs.current is not None
    assert jobs.current.key == ("older",), "another visitor's job runs"
    gate.open.set()
    assert held.entered.wait(5)
    assert jobs.current.key == ("urgent",)
    held.open.set()
    for name in ("older", "urgent"):
        ended(jobs, name)
    assert jobs.current is None
    assert list(jobs.advance()) == ["older", "urgent"]


def test_another_visitors_job_goes_on(jobs: Jobs, held: Gate, worker: Worker) -> None:
    other = Jobs("bob")
    jobs.start("name", asking("key", held))
    other.start("name", asking("key", held))
    jobs.leave_all()
    assert jobs.snapshots == {}
    held.open.set()
    ended(other, "name")
    assert other.advance()["name"].result == "answer"


def test_what_else_the_visitor_waits_for_is_given_up(jobs: Jobs, held: Gate) -> None:
    page = Jobs("ada")
    page.start("page", asking("page", held))
    assert held.entered.wait(5)
    jobs.start("name", asking("key", giving(1)))
    jobs.take_others_off()
    ended(page, "page")
    assert page.advance()["page"].state == "cancelled"
    ended(jobs, "name")
    assert jobs.advance()["name"].result == 1


def test_but_not_what_it_is_told_to_leave(jobs: Jobs, held: Gate) -> None:
    fetches = Jobs("ada")
    fetches.start("model", asking("model", held))
    assert held.entered.wait(5)
    jobs.start("name", asking("key", giving(1)))
    jobs.take_others_off(fetches)
    held.open.set()
    ended(fetches, "model")
    assert fetches.advance()["model"].state == "done"


def test_a_name_that_is_given_up_while_it_is_waited_for_is_no_error(
    jobs: Jobs, held: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = Job.wait

    def pressed_meanwhile(job: Job, timeout: float | None = None) -> bool:
        jobs.leave("it")
        return waited(job, timeout)

    monkeypatch.setattr(Job, "wait", pressed_meanwhile)
    assert jobs.look("it", asking("a", held)).state in ("cancelled", "running", "queued")
    assert not jobs.snapshots
    assert not jobs.busy
