"""The worker that owns the model: order, sharing, what is seen meanwhile, and what is kept."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from pages.worker.worker import Reporter, Worker
from tests.pages.worker.worker_cases import CACHE_BYTES, Clock, Gate, giving, noting, result_of, submit


def test_a_job_gives_its_result(worker: Worker) -> None:
    job = submit(worker, "sum", lambda _: 2 + 3)
    assert result_of(job) == 5
    assert job.snapshot().state == "done"
    assert job.snapshot().fraction == 1.0


def test_a_job_that_ended_before_it_began_takes_no_turn_and_is_not_what_others_get(worker: Worker, gate: Gate) -> None:
    job = worker.ended("sum", 5, "the sum", "ada")
    assert job.wait(0)
    assert (job.snapshot("ada").state, job.snapshot("ada").result, job.snapshot().fraction) == ("done", 5, 1.0)
    assert [waiting.label for waiting in worker.queue()] == ["the gate"]
    assert not job.cancel("ada")
    other = submit(worker, "sum", giving(6))
    assert other is not job
    gate.open.set()
    assert result_of(other) == 6
    assert job.snapshot("ada").result == 5


def test_every_job_runs_on_the_same_thread_and_never_on_the_callers(worker: Worker) -> None:
    threads = {result_of(submit(worker, str(i), lambda _: threading.get_ident())) for i in range(5)}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_jobs_run_in_the_order_they_came_but_interactive_ones_before_the_others(worker: Worker, gate: Gate) -> None:
    order: list[str] = []
    jobs = [
        submit(worker, key, noting(order, key), interactive=interactive)
        for key, interactive in [("long 1", False), ("long 2", False), ("short 1", True), ("short 2", True)]
    ]
    gate.open.set()
    assert all(job.wait(5) for job in jobs)
    assert order == ["short 1", "short 2", "long 1", "long 2"]


def test_asking_again_with_more_urgency_moves_a_waiting_job_forward(worker: Worker, gate: Gate) -> None:
    submit(worker, "a", giving(None))
    job = submit(worker, "b", giving(None))
    assert job.snapshot().position == 2
    assert submit(worker, "b", giving(None), interactive=True) is job
    assert job.snapshot().position == 1


def test_a_waiting_job_knows_its_place_and_how_many_are_ahead(worker: Worker, gate: Gate) -> None:
    first, second = (submit(worker, key, giving(None)) for key in "ab")
    assert (first.snapshot().position, first.snapshot().ahead) == (1, 1)
    assert (second.snapshot().position, second.snapshot().ahead) == (2, 2)
    assert [waiting.label for waiting in worker.queue()] == ["the gate", "the job a", "the job b"]
    gate.open.set()
    assert second.wait(5)
    assert (second.snapshot().position, second.snapshot().ahead) == (0, 0)


@pytest.mark.parametrize("moment", ["queued", "running", "done"])
def test_two_visitors_with_the_same_request_share_one_job(worker: Worker, gate: Gate, moment: str) -> None:
    runs: list[int] = []
    inner = Gate()

    def function(progress: Reporter) -> Any:
        runs.append(1)
        return inner(progress)

    job = submit(worker, "shared", function, "ada")
    if moment != "queued":
        gate.open.set()
        assert inner.entered.wait(5)
    if moment == "done":
        inner.open.set()
        assert job.wait(5)
    assert job.snapshot().state == moment
    assert submit(worker, "shared", function, "bob") is job
    gate.open.set()
    inner.open.set()
    assert result_of(job) == "through"
    assert runs == [1]


def test_partial_results_are_visible_before_the_job_ends(worker: Worker) -> None:
    inner = Gate()

    def function(progress: Reporter) -> Any:
        progress.publish("contributions", [1, 2, 3])
        return inner(progress)

    job = submit(worker, "matrix", function)
    assert inner.entered.wait(5)
    assert job.snapshot().state == "running"
    assert job.snapshot().partial == {"contributions": [1, 2, 3]}
    inner.open.set()
    assert job.wait(5)
    assert job.snapshot().partial == {"contributions": [1, 2, 3]}


def test_the_results_least_recently_asked_for_are_dropped_when_the_cache_is_full(worker: Worker) -> None:
    def array(_: Reporter) -> Any:
        return np.zeros(CACHE_BYTES // 8 * 2 // 5)  # two of them fit, three do not

    first, second = submit(worker, "1", array), submit(worker, "2", array)
    assert first.wait(5)
    assert second.wait(5)
    assert submit(worker, "1", array) is first  # now the second is the oldest
    assert submit(worker, "3", array).wait(5)
    assert submit(worker, "1", array) is first
    assert submit(worker, "2", array) is not second


def test_a_result_larger_than_the_whole_cache_is_still_not_computed_twice(worker: Worker) -> None:
    job = submit(worker, "huge", giving(np.zeros(CACHE_BYTES)))
    assert job.wait(5)
    assert submit(worker, "huge", giving(np.zeros(CACHE_BYTES))) is job


def test_the_time_left_follows_the_pace_and_counts_down_between_reports(worker: Worker, clock: Clock) -> None:
    begun, go_on, inner = threading.Event(), threading.Event(), Gate()

    def function(progress: Reporter) -> Any:
        progress(None, "reading the model")
        clock.now += 20.0  # no part of the matrix's pace
        progress(0.0, "rows")
        clock.now += 1.0
        progress(0.02)
        begun.set()
        go_on.wait(5)
        clock.now += 4.0
        progress(0.1)
        inner.entered.set()
        inner.open.wait(5)

    job = submit(worker, "matrix", function)
    assert begun.wait(5)
    assert job.snapshot().seconds_left is None  # below 3 %
    go_on.set()
    assert inner.entered.wait(5)
    assert job.snapshot().seconds_left == pytest.approx(45.0)  # 10 % in 5 seconds
    assert job.snapshot().elapsed == pytest.approx(25.0)
    clock.now += 15.0
    assert job.snapshot().seconds_left == pytest.approx(30.0)
    assert job.snapshot().message == "rows"
    inner.open.set()
    assert job.wait(5)
    assert job.snapshot().seconds_left is None


def test_a_fraction_that_is_not_a_number_counts_as_not_known(worker: Worker) -> None:
    inner = Gate()

    def function(progress: Reporter) -> Any:
        progress(float("nan"), "dividing by nothing")
        inner.entered.set()
        inner.open.wait(5)

    job = submit(worker, "nan", function)
    assert inner.entered.wait(5)
    assert job.snapshot().fraction is None
    assert job.snapshot().seconds_left is None
    inner.open.set()


def test_many_visitors_at_once_run_every_request_once(worker: Worker) -> None:
    runs: list[int] = []
    barrier = threading.Barrier(8)

    def visit(name: str) -> None:
        barrier.wait(5)
        for i in range(20):
            submit(worker, str(i), noting(runs, i), name)

    visitors = [threading.Thread(target=visit, args=(f"visitor {n}",)) for n in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(10)
    assert all(submit(worker, str(i), giving(None)).wait(5) for i in range(20))
    assert sorted(runs) == list(range(20))
