"""The engine with a tiny model that reads every text and chat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pages.worker.engine import Engine
from pages.worker.models import Loaded
from pages.worker.saved_analyses import SWITCH
from tests.eqlin_core.odd_calls import tiny_with_chat
from tests.pages.answers.answer_cases import DTYPE, MODEL
from tests.pages.run_cases import give


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Engine]:
    monkeypatch.setenv(SWITCH, str(tmp_path))
    made = Engine()
    made.models.loaded[MODEL, DTYPE] = Loaded(tiny_with_chat())
    give(monkeypatch, made)
    yield made
    assert made.worker.shutdown(30)
