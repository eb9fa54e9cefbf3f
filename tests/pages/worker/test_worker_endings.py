"""How jobs on the worker end: cancelled, failed, given up by visitors who left, or shut down."""

from __future__ import annotations

import logging
import threading

import pytest

from eqlin_core.errors import Cancelled, EqlinError
from pages.worker.worker import RETURN_SECONDS, Reporter, Worker
from tests.pages.worker.worker_cases import ABSENCE, Clock, Gate, giving, raising, result_of, submit


def test_one_visitors_cancel_leaves_a_shared_job_to_the_other(worker: Worker, gate: Gate) -> None:
    job = submit(worker, "shared", giving("kept"), "ada")
    submit(worker, "shared", giving("kept"), "bob")
    assert job.cancel("ada") is False
    assert job.snapshot("ada").state == "cancelled"
    assert job.snapshot("bob").state == "queued"
    gate.open.set()
    assert result_of(job) == "kept"
    assert job.snapshot("ada").result is None


def test_the_last_visitors_cancel_stops_a_shared_job(worker: Worker, gate: Gate) -> None:
    job = submit(worker, "shared", giving("kept"), "ada")
    submit(worker, "shared", giving("kept"), "bob")
    job.cancel("ada")
    assert job.cancel("bob") is True
    assert job.snapshot("bob").state == "cancelled"


def test_a_stranger_cannot_cancel_a_job(worker: Worker, gate: Gate) -> None:
    job = submit(worker, "mine", giving("kept"), "ada")
    assert job.cancel("eve") is False
    gate.open.set()
    assert result_of(job) == "kept"


def test_a_job_cancelled_while_it_waits_never_runs(worker: Worker, gate: Gate) -> None:
    ran = threading.Event()
    job = submit(worker, "waiting", lambda _: ran.set())
    assert job.cancel("ada") is True
    assert job.wait(1)
    assert job.snapshot().state == "cancelled"
    gate.open.set()
    assert submit(worker, "after", giving(None)).wait(5)
    assert not ran.is_set()


def test_a_running_job_is_cancelled_at_its_next_report_and_the_next_one_runs(worker: Worker) -> None:
    inner = Gate()
    job = submit(worker, "running", inner)
    assert inner.entered.wait(5)
    assert job.cancel("ada") is True
    assert job.wait(5)
    assert job.snapshot().state == "cancelled"
    assert result_of(submit(worker, "next", giving("runs"))) == "runs"


def test_a_running_job_that_does_not_report_shows_that_it_is_stopping(worker: Worker) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def deaf(progress: Reporter) -> str:
        entered.set()
        go_on.wait(5)
        return "too late"

    job = submit(worker, "deaf", deaf)
    assert entered.wait(5)
    job.cancel("ada")
    assert (job.snapshot().state, job.snapshot().cancelling) == ("running", True)
    go_on.set()
    assert job.wait(5)
    assert (job.snapshot().state, job.snapshot().result) == ("cancelled", None)


def test_asking_again_after_a_cancel_starts_a_new_job(worker: Worker, gate: Gate) -> None:
    job = submit(worker, "again", giving("first"))
    job.cancel("ada")
    again = submit(worker, "again", giving("second"))
    assert again is not job
    gate.open.set()
    assert result_of(again) == "second"


def test_asking_again_while_the_cancelled_job_is_still_stopping_starts_a_new_job(worker: Worker) -> None:
    inner = Gate()
    job = submit(worker, "again", inner)
    assert inner.entered.wait(5)
    job.cancel("ada")
    again = submit(worker, "again", giving("second"))
    assert again is not job
    assert result_of(again) == "second"
    assert submit(worker, "again", giving("third")) is again


def test_what_an_earlier_prompt_asked_for_is_dropped_and_the_rest_kept(worker: Worker, gate: Gate) -> None:
    old, new = (submit(worker, key, giving(None)) for key in ("old", "new"))
    of_bob = submit(worker, "old of bob", giving(None), "bob")
    worker.keep_only("ada", {"new"})
    assert [job.snapshot().state for job in (old, new, of_bob)] == ["cancelled", "queued", "queued"]


def test_an_engine_error_is_shown_as_its_sentence(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    fail = raising(EqlinError("The prompt is empty; type at least one word."))
    job = submit(worker, "empty", fail)
    assert job.wait(5)
    assert job.snapshot().state == "failed"
    assert job.snapshot().error == "The prompt is empty; type at least one word."
    assert not caplog.records


class OutOfMemoryError(RuntimeError):
    """Named as PyTorch names it."""


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_says_what_to_do(worker: Worker, failure: Exception) -> None:
    fail = raising(failure)
    job = submit(worker, "big", fail)
    assert job.wait(5)
    assert job.snapshot().error == (
        "There was not enough memory for the job big; use a shorter prompt, a lower precision or a smaller model."
    )


def test_an_unforeseen_error_is_one_sentence_on_the_page_and_a_traceback_in_the_log(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    fail = raising(ValueError("shapes (7, 576)\nand (8, 576) differ"))
    with caplog.at_level(logging.ERROR):
        job = submit(worker, "odd", fail)
        assert job.wait(5)
    error = job.snapshot().error
    assert error.startswith("Something went wrong inside the job odd: ValueError: shapes (7, 576) and (8, 576) differ.")
    assert "Traceback" not in error
    assert "\n" not in error
    assert "Traceback" in caplog.text
    assert "in burst" in caplog.text


@pytest.mark.parametrize("failure", [SystemExit(1), KeyboardInterrupt(), ZeroDivisionError()])
def test_no_job_can_end_the_thread(worker: Worker, failure: BaseException) -> None:
    fail = raising(failure)
    job = submit(worker, "killer", fail)
    assert job.wait(5)
    assert job.snapshot().state == "failed"
    assert result_of(submit(worker, "after", giving("alive"))) == "alive"


def test_asking_again_after_a_failure_tries_again(worker: Worker) -> None:
    fail = raising(EqlinError("No network; connect and try again."))
    job = submit(worker, "fetch", fail)
    assert job.wait(5)
    again = submit(worker, "fetch", giving("fetched"))
    assert again is not job
    assert result_of(again) == "fetched"


def test_every_job_of_a_visitor_who_is_gone_is_cancelled(worker: Worker, clock: Clock, gate: Gate) -> None:
    long = submit(worker, "long", giving(None), "gone")
    short = submit(worker, "short", giving(None), "gone", interactive=True)
    shared = submit(worker, "shared", giving(None), "gone")
    submit(worker, "shared", giving(None), "ada")
    clock.now += ABSENCE + 1
    worker.touch("ada")
    assert [job.snapshot().state for job in (long, short, shared)] == ["cancelled", "cancelled", "queued"]


def test_a_visitor_who_keeps_polling_keeps_the_job(worker: Worker, clock: Clock, gate: Gate) -> None:
    job = submit(worker, "long", giving(None))
    for _ in range(5):
        clock.now += ABSENCE - 1
        worker.touch("ada")
    assert worker.reap() == []
    assert job.snapshot().state == "queued"


def test_a_running_job_stops_by_itself_when_everybody_has_gone(worker: Worker, clock: Clock) -> None:
    inner = Gate()
    job = submit(worker, "long", inner, "gone")
    assert inner.entered.wait(5)
    clock.now += ABSENCE + 1
    assert job.wait(5)
    assert job.snapshot().state == "cancelled"


def test_a_visitor_whose_connection_ended_keeps_the_job_for_a_moment_only(clock: Clock) -> None:
    here = {"ada"}
    worker = Worker(absence=ABSENCE, clock=clock, connected=here.__contains__)
    inner = Gate()
    try:
        job = submit(worker, "long", inner, "reloaded")
        shared = submit(worker, "shared", giving(None), "reloaded")
        submit(worker, "shared", giving(None), "ada")
        assert inner.entered.wait(5)
        clock.now += RETURN_SECONDS - 1
        assert worker.reap() == [], "a broken connection may come back"
        clock.now += 2
        worker.touch("ada")
        assert job.wait(5)
        assert job.snapshot().state == "cancelled"
        assert shared.wait(5)
        assert shared.snapshot().state == "done"
    finally:
        inner.open.set()
        assert worker.shutdown()


def test_shutting_down_cancels_what_runs_and_what_waits_and_takes_no_more(worker: Worker, gate: Gate) -> None:
    waiting = submit(worker, "waiting", giving(None))
    assert worker.shutdown() is True
    assert waiting.snapshot().state == "cancelled"
    assert gate.open.is_set() is False  # it ended by its cancellation
    with pytest.raises(EqlinError, match="restart the app"):
        submit(worker, "late", giving(None))


def test_a_function_may_cancel_itself(worker: Worker) -> None:
    fail = raising(Cancelled())
    job = submit(worker, "given up", fail)
    assert job.wait(5)
    assert job.snapshot().state == "cancelled"
