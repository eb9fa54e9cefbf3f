"""Public mode: which models and prompts a visitor may ask for, and one sentence for everything else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core.runs.steering import SteeringPlan
from eqlin_core.version import PACKAGE
from pages.door import models
from pages.door.admission import NOT_OFFERED, listed_models, refusal, too_long
from pages.steered.state import Steering
from pages.worker.request import DEFAULT_MODEL, Request
from tests.pages.door.conftest import Serve

APP = str(PACKAGE.parent / "app.py")


@pytest.fixture(autouse=True)
def _nothing_from_a_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No preset lies on this machine."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_on_ones_own_machine_every_name_and_length_may_be_asked_for(serve: Serve) -> None:
    serve()
    assert refusal(Request("word " * 10_000, model="/etc")) == ""
    assert listed_models() is None


def test_a_name_that_fills_pages_is_refused_without_being_repeated(serve: Serve) -> None:
    serve()
    assert refusal(Request(model="x" * 10_000)) == (
        "A model's name of 10,000 characters is too long: choose one of the list."
    )


def test_in_public_one_sentence_answers_every_name_that_is_not_offered(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    serve(public="1", models="Qwen/Qwen3-0.6B")
    for name in ("/etc", "/no/such/folder", str(tmp_path), "Qwen/Qwen3-4B", "qwen3-4b", "x" * 10_000, "", "../.."):
        assert refusal(Request(model=name)) == NOT_OFFERED
    for name in (DEFAULT_MODEL, "Qwen/Qwen3-0.6B"):
        assert refusal(Request(model=name)) == ""


def test_a_listed_folder_of_models_offers_each_of_them_letter_by_letter(serve: Serve, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "three.gguf").touch()
    serve(public="1", models=str(tmp_path))
    assert listed_models() == (DEFAULT_MODEL, *(f"{tmp_path}/{name}" for name in ("one", "three.gguf", "two")))
    for name in (f"{tmp_path}/notes", f"{tmp_path}/one/", f"{tmp_path}/notes/../one", str(tmp_path)):
        assert refusal(Request(model=name)) == NOT_OFFERED


def test_without_a_list_the_presets_that_lie_here_are_offered(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(public="1")
    assert listed_models() == (DEFAULT_MODEL,)
    monkeypatch.setattr(models, "is_here", lambda name: name == "qwen3-0.6b")
    assert listed_models() == (DEFAULT_MODEL, "qwen3-0.6b")


def test_a_prompt_is_as_long_as_the_operator_lets_it_be(serve: Serve) -> None:
    serve(public="1", longest_prompt="10")
    assert refusal(Request("0123456789")) == ""
    said = "The text has 11 characters, and this server takes 10 at most: shorten it."
    assert refusal(Request("01234567890")) == said
    assert too_long("", "short", "01234567890") == said


def test_steering_keeps_to_the_length_in_all_its_texts(serve: Serve) -> None:
    serve(public="1", longest_prompt="10")
    short, long = SteeringPlan("a", "b", 1), "01234567890"
    for plan in (replace(short, concept=long), replace(short, prompt=long), replace(short, second=long)):
        state = Steering("somebody")
        state.ask(plan)
        assert "11 characters" in state.error
        assert (state.asked, state.busy) == (None, False)


def drawn(model: str) -> AppTest:
    """The app as a visitor sees it whose address names this model."""
    app = AppTest.from_file(APP, default_timeout=30)
    app.query_params["model"] = model
    app.run()
    assert not app.exception
    return app


def test_a_path_in_the_address_looks_like_a_name_that_nobody_knows(serve: Serve) -> None:
    serve(public="1")
    path, name = drawn("/etc"), drawn("no-such-model")
    for app in (path, name):
        assert [error.value for error in app.error] == [NOT_OFFERED]
        assert app.session_state["eqlin"].asked is None, "nothing was started"
    differ = {(type(a), str(a)) for a in path.main} ^ {(type(b), str(b)) for b in name.main}
    assert not differ
