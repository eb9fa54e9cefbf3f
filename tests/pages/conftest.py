"""A worker with a clock set by hand, one that is kept busy, and an engine of made-up results."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pages.worker.worker import Worker
from tests.pages.run_cases import MadeUpEngine, give
from tests.pages.worker.worker_cases import ABSENCE, CACHE_BYTES, Clock, Gate


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(clock: Clock) -> Iterator[Worker]:
    worker = Worker(cache_bytes=CACHE_BYTES, absence=ABSENCE, clock=clock)
    yield worker
    assert worker.shutdown(), "the worker's thread did not end"


@pytest.fixture
def gate(worker: Worker) -> Iterator[Gate]:
    """Keeps the worker busy until opened, so that what is submitted meanwhile has to wait."""
    gate = Gate()
    worker.submit("gate", gate, label="the gate", visitor="porter", interactive=True)
    assert gate.entered.wait(5)
    yield gate
    gate.open.set()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[MadeUpEngine]:
    """What visits and pages ask in the place of the engine."""
    own = Worker()
    made_up = MadeUpEngine(own)
    give(monkeypatch, made_up)
    yield made_up
    assert own.shutdown()
