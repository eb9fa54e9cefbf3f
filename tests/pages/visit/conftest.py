"""The engine that a visit asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pages.worker.worker import Worker
from tests.pages.run_cases import MadeUpEngine, give


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[MadeUpEngine]:
    worker = Worker()
    made_up = MadeUpEngine(worker)
    give(monkeypatch, made_up)
    yield made_up
    assert worker.shutdown()
