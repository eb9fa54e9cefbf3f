"""Page Models: what fits and what is here is said, fetching can be cancelled, and nothing is deleted by one press."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core.errors import EqlinError
from eqlin_core.models import loading
from pages.catalogue import view
from pages.door.admission import NOT_OFFERED
from pages.visit.session import Session
from pages.worker.engine import Engine
from pages.worker.models import Loaded, Room
from pages.worker.request import DEFAULT_MODEL
from tests.eqlin_core.models.disk_cases import cached
from tests.pages.door.conftest import Serve, serve
from tests.pages.run_cases import give

__all__ = ["serve"]  # a fixture
GIGA = 10**9


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("EQLIN_CACHE", str(tmp_path / "eqlin"))
    return tmp_path / "hub"


@pytest.fixture
def engine(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    made = Engine()
    give(monkeypatch, made)
    monkeypatch.setattr(view, "engine", lambda: made)
    monkeypatch.setattr(made, "room", lambda: Room(10 * GIGA, 0, "in main memory"))
    yield made
    assert made.worker.shutdown()


def lay(engine: Engine, name: str, folder: Path | str = "") -> None:
    """A model in the engine's memory that was read from this folder."""
    model: Any = SimpleNamespace(config=SimpleNamespace(_name_or_path=str(folder)), device=SimpleNamespace(type="cpu"))
    engine.models.loaded[name, "float32"] = Loaded(model, nbytes=2 * GIGA, device="cpu")


def page(look: str = "", **state: Any) -> AppTest:
    app = AppTest.from_file("../../../pages/models.py", default_timeout=30)
    for key, value in {"in_app": True, "eqlin": Session(visitor="ada"), **state}.items():
        app.session_state[key] = value
    if look:
        app.query_params["look"] = look
    app.run()
    assert not app.exception, app.exception
    return app


def said(app: AppTest) -> str:
    return " ".join(text.value for kind in (app.markdown, app.caption, app.error) for text in kind)


def row(app: AppTest, name: str) -> dict[str, Any]:
    table = app.dataframe[0].value
    (found,) = table[table["Model"] == name].to_dict("records")
    return found


def buttons(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def until(happened: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(1000):
        if happened():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not happen")


def test_every_model_has_its_memory_by_precision_and_whether_it_fits(engine: Engine) -> None:
    app = page()
    assert row(app, "qwen3-4b")["float32, GB"] == pytest.approx(4 * 4 * 1.05)
    assert row(app, "qwen3-4b")["16 bit, GB"] == pytest.approx(4 * 2 * 1.05)
    fits = {name: row(app, name)["Fits now in"] for name in (DEFAULT_MODEL, "llama-3.2-1b", "qwen3-4b", "phi-4")}
    assert fits == {DEFAULT_MODEL: "all", "llama-3.2-1b": "float32, 16 bit", "qwen3-4b": "16 bit", "phi-4": "none"}
    assert row(app, "gemma-3-4b")["Licence"] == "Gemma terms of use, gated"
    assert "**10 GB** is free in main memory: in float32 **8 of 18** models fit." in said(app)
    assert "No model is loaded now." in said(app)
    assert engine.worker.queue() == []
    assert engine.models.loaded == {}, "the page asks the worker for nothing"


def test_the_count_is_of_the_precision_in_the_sidebar(engine: Engine) -> None:
    assert "in float64 **4 of 18** models fit" in said(page(dtype="float64"))


def test_what_is_loaded_is_said_and_counts_as_room(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(engine, "qwen3-4b")
    monkeypatch.setattr(engine, "room", lambda: Room(8 * GIGA, 2 * GIGA, "in main memory"))
    app = page()
    assert "**qwen3\\-4b** in float32, 2 GB on cpu, with 0 maps kept." in said(app)
    assert "with the 2 GB of what is loaded, which goes for another" in said(app)
    assert row(app, "qwen3-4b")["Fits now in"] == "16 bit"
    assert row(app, "qwen3-4b")["On this disk"] == "loaded"


def test_what_lies_in_the_cache_is_listed_with_its_bytes(engine: Engine, cache: Path) -> None:
    cached(cache, "someone/own", 500_000)
    cached(cache, "Qwen/Qwen3-4B", 1_000_000, whole=False)
    app = page("someone/own")
    assert row(app, "someone/own")["On this disk"] == "1 MB"
    assert row(app, "someone/own")["10⁹ weights"] == 0.0005
    assert row(app, "qwen3-4b")["On this disk"] == "2 MB, a part"
    assert "is on this machine and needs no network" in said(app)
    assert "Fetch" not in buttons(app)
    assert "Fetch the rest" in buttons(page("Qwen/Qwen3-4B"))


@pytest.mark.parametrize("name", ["two words", "nothing.gguf", "x" * 2000, "/no/such/folder"])
def test_a_name_that_leads_nowhere_is_refused_before_anything_queues(engine: Engine, name: str) -> None:
    app = page(name)
    assert len(app.error) == 1
    assert len(app.error[0].value) < 400
    assert buttons(app) == []


def test_a_gated_model_says_how_to_log_in(engine: Engine) -> None:
    assert "`hf auth login`" in said(page("llama-3.2-1b"))
    assert "`hf auth login`" not in said(page("qwen3-4b"))


def test_use_this_model_sets_the_form_and_asks_again(engine: Engine) -> None:
    app = page("qwen3-4b")
    app.button(key="use-model").click().run()
    assert (app.session_state["model"], app.session_state["ask_again"]) == ("qwen3-4b", True)


def test_a_fetch_ends_in_its_sentence_and_can_be_begun_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(name: str, progress: Any) -> None:
        asked.append(name)
        raise EqlinError("The Hugging Face hub cannot be reached: connect to the network.")

    monkeypatch.setattr(loading, "fetch_model", fetch)
    app = page("qwen3-4b")
    for _ in range(2):
        app.button(key="fetch-model").click().run()
    assert asked == ["qwen3-4b"] * 2
    assert [error.value for error in app.error] == ["The Hugging Face hub cannot be reached: connect to the network."]
    assert "Fetch" in buttons(app)


def test_a_fetch_goes_on_beside_an_analysis_and_is_cancelled(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def fetch(name: str, progress: Any) -> None:
        while True:
            progress(0.5, f"Downloading {name}")
            begun.set()

    monkeypatch.setattr(loading, "fetch_model", fetch)
    state = Session(visitor="ada")
    app = page("qwen3-4b", eqlin=state)
    app.button(key="fetch-model").click().run()
    assert begun.wait(5)
    assert app.button(key="fetch-model").disabled
    state.jobs.take_others_off(state.errands)
    assert state.errands.current is not None, "an analysis does not give it up"
    assert state.errands.current.message == "Downloading qwen3-4b"
    state.errands.cancel()
    until(lambda: bool(state.errands.advance()))
    app.run()
    assert "Cancelled. Files that had arrived whole stay." in said(app)
    assert not app.button(key="fetch-model").disabled


def test_deleting_takes_a_second_press_and_can_be_fetched_again(
    engine: Engine, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "fetch_model", lambda _name, _progress: cached(cache, "someone/own", 500_000))
    folder = cached(cache, "someone/own", 500_000)
    app = page("someone/own")
    for _ in range(2):
        app.button(key="delete-model").click().run()
        assert not folder.exists()
        app.run()
        app.button(key="fetch-model").click().run()
        assert folder.exists()
        app.run()
    (popover,) = app.get("popover")
    assert popover.proto.popover.label == "Delete", "the button is behind another one"


def test_what_is_loaded_is_not_deleted_until_it_is_unloaded(engine: Engine, cache: Path) -> None:
    folder = cached(cache, "Qwen/Qwen3-4B")
    app = page("qwen3-4b")
    lay(engine, "Qwen/Qwen3-4B", folder / "snapshots" / ("a" * 40))  # meanwhile, and under its other name
    app.button(key="delete-model").click().run()
    assert "qwen3-4b is loaded, and what is loaded is not deleted: unload it first." in said(app)
    assert folder.exists()
    app.button(key="unload-model").click().run()
    until(lambda: engine.models.loaded == {})
    app.run()
    app.button(key="delete-model").click().run()
    until(lambda: not folder.exists())


def test_a_public_server_shows_its_list_and_changes_nothing(engine: Engine, cache: Path, serve: Serve) -> None:
    cached(cache, "someone/own")
    folder = cached(cache, "Qwen/Qwen3-4B")
    serve(public="1")
    app = page("qwen3-4b")
    assert list(app.dataframe[0].value["Model"]) == [DEFAULT_MODEL, "qwen3-4b"]
    assert buttons(app) == ["Use this model"]
    assert "fetched and deleted by its operator" in said(app)
    for name in ("someone/own", "/etc", "x" * 2000, "two words", str(folder)):
        refused = page(name)
        assert [error.value for error in refused.error] == [NOT_OFFERED]
        assert buttons(refused) == []


def test_a_public_server_starts_nothing_even_if_asked(
    engine: Engine, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(public="1")
    state = Session(visitor="ada")
    monkeypatch.setattr(view, "session", lambda: state)
    view._start("qwen3-4b", view.jobs.fetched("qwen3-4b", 0))
    assert state.errands.snapshots == {}
