"""Jobs that give way on the worker: what is kept, who is alone with what, and threads that come and go."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from eqlin_core.errors import Cancelled
from pages.worker.schedule import TURN_SECONDS
from pages.worker.worker import Reporter, Worker
from tests.pages.worker.worker_cases import Clock, Gate, giving, raising, result_of, submit


def test_a_long_job_gives_way_to_a_quick_one_and_goes_on_where_it_was(worker: Worker) -> None:
    inner = Gate()
    ran: list[str] = []

    def long(progress: Reporter) -> str:
        kept = ["before"]
        inner(progress)
        ran.append("long")
        return kept[0]

    job = submit(worker, "matrix", long)
    assert inner.entered.wait(5)
    quick = submit(worker, "contributions", lambda _: ran.append("quick"), "bob", interactive=True)
    assert quick.wait(5), "it did not wait for the matrix"
    inner.open.set()
    assert result_of(job) == "before"
    assert ran == ["quick", "long"]


def test_what_gave_way_says_so_and_for_whom(worker: Worker) -> None:
    inner, between = Gate(), Gate()
    job = submit(worker, "matrix", inner)
    assert inner.entered.wait(5)
    quick = submit(worker, "contributions", between, "bob", interactive=True)
    assert between.entered.wait(5)
    assert quick.snapshot().state == "running"
    snapshot = job.snapshot()
    assert (snapshot.state, snapshot.ahead, snapshot.behind) == ("paused", 1, "the job contributions")
    assert snapshot.message == "at the gate"
    assert [waiting.state for waiting in worker.queue()] == ["running", "paused"]
    inner.open.set()
    between.open.set()
    assert job.wait(5)


def test_the_time_for_which_a_job_stood_still_is_no_part_of_its_pace(worker: Worker, clock: Clock) -> None:
    half, resume, inner, between = threading.Event(), threading.Event(), Gate(), Gate()

    def long(progress: Reporter) -> None:
        progress(0.0, "rows")
        clock.now += 10.0
        progress(0.5)
        half.set()
        resume.wait(5)
        progress(0.5)  # here it gives way
        inner(progress)

    job = submit(worker, "matrix", long)
    assert half.wait(5)
    assert job.snapshot().seconds_left == pytest.approx(10.0)
    submit(worker, "contributions", between, "bob", interactive=True)
    resume.set()
    assert between.entered.wait(5)
    assert job.snapshot().elapsed == pytest.approx(10.0)
    clock.now += 15.0
    between.open.set()
    assert inner.entered.wait(5)
    assert job.snapshot().elapsed == pytest.approx(10.0)
    inner.open.set()
    assert job.wait(5)


def test_a_job_that_gave_way_can_be_cancelled_and_is_told_before_anybody_else(worker: Worker) -> None:
    inner, between, told = Gate(), Gate(), threading.Event()

    def long(progress: Reporter) -> None:
        try:
            inner(progress)
        except Cancelled:
            told.set()
            raise

    job = submit(worker, "matrix", long)
    assert inner.entered.wait(5)
    quick = submit(worker, "contributions", between, "bob", interactive=True)
    assert between.entered.wait(5)
    job.cancel("ada")
    assert job.wait(5)
    assert told.is_set()
    assert job.snapshot().state == "cancelled"
    between.open.set()
    assert result_of(quick) == "through"


def test_visitors_take_turns_at_long_jobs(worker: Worker, clock: Clock) -> None:
    order: list[str] = []

    def long(name: str) -> Any:
        def work(progress: Reporter) -> None:
            for _ in range(3):
                order.append(name)
                clock.now += TURN_SECONDS
                progress()

        return work

    hold = Gate(deaf=True)
    submit(worker, "hold", hold, "porter", interactive=True)
    assert hold.entered.wait(5)
    jobs = [submit(worker, name, long(name), name) for name in ("ada", "bob")]
    hold.open.set()
    assert all(job.wait(5) for job in jobs)
    assert order == ["ada", "bob"] * 3


def test_only_one_job_computes_at_a_time(worker: Worker, clock: Clock) -> None:
    inside, most = 0, 0

    def work(progress: Reporter) -> None:
        nonlocal inside, most
        for _ in range(5):
            inside += 1
            most = max(most, inside)
            inside -= 1
            clock.now += TURN_SECONDS
            progress()

    jobs = [submit(worker, str(n), work, f"visitor {n}", interactive=n % 2 == 0) for n in range(3)]
    assert all(job.wait(10) for job in jobs)
    assert most == 1
    assert [job.snapshot().state for job in jobs] == ["done"] * 3


def test_what_a_job_is_alone_with_others_wait_for(worker: Worker) -> None:
    inner, order = Gate(), []

    def loading(progress: Reporter) -> None:
        with progress.alone_with("the model"), progress.alone_with("the model"):
            inner(progress)
            order.append("loaded")

    def needing(progress: Reporter) -> None:
        with progress.alone_with("the model"):
            order.append("used")

    first = submit(worker, "load", loading)
    assert inner.entered.wait(5)
    second = submit(worker, "use", needing, "bob", interactive=True)
    third = submit(worker, "other", lambda _: order.append("other"), "eve", interactive=True)
    assert third.wait(5), "who does not need the model is served meanwhile"
    assert not second.wait(0.05)
    inner.open.set()
    assert first.wait(5)
    assert second.wait(5)
    assert order == ["other", "loaded", "used"]


def test_what_a_failed_job_was_alone_with_is_free(worker: Worker) -> None:
    def failing(progress: Reporter) -> None:
        with progress.alone_with("the model"):
            raising(ValueError("no"))(progress)

    assert submit(worker, "fails", failing).wait(5)

    def needing(progress: Reporter) -> str:
        with progress.alone_with("the model"):
            return "used"

    assert result_of(submit(worker, "uses", needing)) == "used"


def test_who_waits_for_what_another_is_alone_with_can_be_cancelled(worker: Worker) -> None:
    inner = Gate()

    def loading(progress: Reporter) -> None:
        with progress.alone_with("the model"):
            inner(progress)

    first = submit(worker, "load", loading)
    assert inner.entered.wait(5)
    second = submit(worker, "use", loading, "bob", interactive=True)
    while second.snapshot().state == "queued":
        pass
    second.cancel("bob")
    assert second.wait(5)
    assert second.snapshot().state == "cancelled"
    inner.open.set()
    assert first.wait(5)


def test_a_report_from_another_job_s_thread_changes_nothing(worker: Worker) -> None:
    reporters: list[Reporter] = []
    inner = Gate()

    def long(progress: Reporter) -> None:
        reporters.append(progress)
        inner(progress)

    def quick(_: Reporter) -> str:
        reporters[0](0.9, "met in a graph")  # as a hook of the long job would
        return "done"

    job = submit(worker, "long", long)
    assert inner.entered.wait(5)
    assert result_of(submit(worker, "quick", quick, "bob", interactive=True)) == "done"
    assert job.snapshot().message == "at the gate"
    inner.open.set()
    assert job.wait(5)


def test_a_waiting_job_says_how_long_it_will_wait_once_such_jobs_have_ended(worker: Worker, clock: Clock) -> None:
    def taking(seconds: float) -> Any:
        def work(_: Reporter) -> None:
            clock.now += seconds

        return work

    assert worker.submit("1", taking(2.0), label="a look", visitor="ada", interactive=True).wait(5)
    hold = Gate(deaf=True)
    worker.submit("2", hold, label="a look", visitor="bob", interactive=True)
    assert hold.entered.wait(5)
    waiting = submit(worker, "3", giving(None), "eve", interactive=True)
    assert waiting.snapshot().starts_in == pytest.approx(2.0)
    clock.now += 0.5
    assert waiting.snapshot().starts_in == pytest.approx(1.5)
    hold.open.set()
    assert waiting.wait(5)
    assert waiting.snapshot().starts_in is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_fails_its_job_and_is_replaced(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[int] = []
    worker = Worker(clock=clock, on_loss=lambda: lost.append(1))
    run = worker._run

    def dying(job: Any, lane: Any) -> None:
        if job.key == "killer":
            raise SystemExit  # what nothing inside the job can do: its thread ends
        run(job, lane)

    monkeypatch.setattr(worker, "_run", dying)  # before there is a lane
    job = submit(worker, "killer", giving(None))
    waiting = submit(worker, "after", giving("alive"), "bob")
    for lane in list(worker._lanes):
        lane.thread.join(5)
    worker.touch("ada")
    assert job.snapshot().state == "failed"
    assert job.snapshot().error.endswith("died and is replaced; ask again.")
    assert lost == [1]
    assert result_of(waiting) == "alive"
    assert worker.shutdown()


class AcceleratorError(RuntimeError):
    """Named as PyTorch names it."""


def test_after_an_accelerator_failed_everything_is_refused_with_what_to_do(worker: Worker) -> None:
    job = submit(worker, "poison", raising(AcceleratorError("CUDA error: an illegal memory access was encountered")))
    assert job.wait(5)
    after = submit(worker, "after", giving("never"))
    assert after.wait(5)
    assert job.snapshot().error == after.snapshot().error
    assert "restart the server" in after.snapshot().error
