"""The engine behind the pages: one model at a time, and none lost for a name that leads nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eqlin_core import EqlinError
from pages.worker.engine import Engine
from pages.worker.request import Request


class Quiet:
    """What a job reports to, which nobody reads."""

    def __call__(self, fraction: float | None = None, message: str = "") -> None: ...

    def publish(self, name: str, value: Any) -> None: ...


@pytest.fixture
def engine() -> Any:
    made = Engine()
    made._model = (("loaded", "float32"), "the loaded model")  # type: ignore[assignment]
    made.beside_model["operators"] = "made for the loaded model"
    yield made
    assert made.worker.shutdown()


@pytest.mark.parametrize("name", ["missing.gguf", "empty.gguf", "empty"])
def test_a_name_that_leads_nowhere_leaves_the_loaded_model(engine: Engine, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.gguf").write_bytes(b"")
    with pytest.raises(EqlinError):
        engine.load(Request(model=str(tmp_path / name)), Quiet())  # type: ignore[arg-type]
    assert engine.load(Request(model="loaded"), Quiet()) == "the loaded model"  # type: ignore[arg-type]
    assert engine.beside_model == {"operators": "made for the loaded model"}


def test_the_loaded_model_is_let_go_before_another_is_read(engine: Engine) -> None:
    seen = []

    class Looking(Quiet):
        def __call__(self, fraction: float | None = None, message: str = "") -> None:
            if message.startswith("Reading the weights"):
                seen.append(engine._model)

    model = engine.load(Request(), Looking())  # type: ignore[arg-type]
    assert seen == [None]
    assert engine.beside_model == {}, "what was made for the model goes with it"
    assert model.name == Request().model
