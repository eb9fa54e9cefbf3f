"""Page Layers through lenses on a tiny model: what stands there at once, a lens that is fitted, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import eqlin_core as eq
from eqlin_core.lenses.kept import prompts_read
from pages.sweep import lenses
from pages.visit.session import Session
from tests.eqlin_core.odd_calls import tiny_with_text
from tests.pages.run_cases import give
from tests.pages.tiny_cases import TinyEngine, opened, settled

PHRASES = 7  # more than are written at once


class WithText(TinyEngine):
    """The engine with a model that reads texts, which is what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = eq.linearize(tiny_with_text(), "The capital of Italy is")
        self.of = {self.lin.convention: self.lin}

    def load(self, *_: Any) -> eq.LanguageModel:
        return self.lin.lm


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WithText]:
    made = WithText()
    give(monkeypatch, made)
    monkeypatch.setattr(lenses, "PROMPTS", PHRASES)
    monkeypatch.setattr(lenses, "_folder", lambda: tmp_path)
    yield made
    assert made.worker.shutdown()


def page(engine: WithText) -> AppTest:
    return opened("layers", engine, layer_tab="Through lenses")


def fitted(app: AppTest, kind: str) -> AppTest:
    """The page once the lens is fitted, or has failed."""
    app.button(key=f"fit_{kind}").click().run()
    visit: Session = app.session_state["eqlin"]
    for name in visit.errands.snapshots:
        assert visit.errands.wait(name, 60)
    visit.errands.advance()
    return settled(app.run())


def captions(app: AppTest) -> str:
    return " ".join(caption.value for caption in app.caption)


def test_the_read_outs_stand_there_at_once_and_a_fitted_lens_beside_them(engine: WithText, tmp_path: Path) -> None:
    app = page(engine)
    token = app.selectbox(key="explain").value
    assert f"When is {token} the read-out?" in [header.value for header in app.header]
    assert "**logit lens** averages over nothing" in captions(app)
    assert "**this prompt's map** averages over nothing" in captions(app)
    assert "Jacobian lens** averages" not in captions(app)
    app = fitted(app, "jacobian")
    (file,) = tmp_path.iterdir()
    assert prompts_read(file) == PHRASES
    assert "**Jacobian lens** averages the model's ordinary derivatives, over 7 prompts" in captions(app)
    keys = [button.key for button in app.button]
    assert "fit_jacobian" not in keys, "it is there"
    assert "fit_frozen" in keys
    app = fitted(app, "frozen")
    assert "**frozen lens** averages the exact maps of each prompt" in captions(app)


def test_a_lens_that_is_half_there_is_read_and_goes_on(engine: WithText, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lenses, "PROMPTS", 5)
    fitted(page(engine), "frozen")
    monkeypatch.setattr(lenses, "PROMPTS", PHRASES)
    app = page(engine)
    assert "over 5 prompts" in captions(app)
    assert "It is of 5 of 7 phrases so far." in captions(app)
    assert app.button(key="fit_frozen").label == "Go on with the frozen lens"
    assert "over 7 prompts" in captions(fitted(app, "frozen"))


def test_a_damaged_lens_is_left_out_and_fitted_anew(engine: WithText, tmp_path: Path) -> None:
    app = fitted(page(engine), "frozen")
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    file.write_bytes(data[:-64] + b"\xff" * 64)  # as long as it was, with numbers that are none
    app = settled(app.run())
    assert not app.error
    assert "**frozen lens** averages" not in captions(app)
    assert "**logit lens** averages over nothing" in captions(app)
    assert app.button(key="fit_frozen").label == "Fit the frozen lens"
    assert "over 7 prompts" in captions(fitted(app, "frozen"))
    file.unlink()
    assert "**frozen lens** averages" not in captions(settled(app.run()))


def test_a_model_whose_read_outs_are_refused_is_offered_no_lens(
    engine: WithText, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise eq.EqlinError("It does more than its final norm.")

    monkeypatch.setattr("eqlin_core.lenses.readouts.require_final_norm", refuse)
    app = page(engine)
    assert [error.value for error in app.error] == ["It does more than its final norm."]
    assert "fit_frozen" not in [button.key for button in app.button]


def test_by_another_map_it_is_said_that_the_read_out_is_the_published_one_s(engine: WithText) -> None:
    assert "whatever the sidebar says" not in captions(page(engine))
    half = eq.linearize(engine.lin.lm, token_ids=engine.lin.token_ids, gated_path="half")
    engine.lin, engine.of = half, {half.convention: half}
    assert "gates held whatever the sidebar says" in captions(page(engine))


def test_what_cannot_be_written_is_a_sentence_and_the_read_outs_stay(
    engine: WithText, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setattr(lenses, "_folder", lambda: tmp_path / "taken")
    app = fitted(page(engine), "frozen")
    assert any("folder for lenses cannot be made" in error.value for error in app.error)
    assert "**logit lens** averages over nothing" in captions(app)


def test_the_choices_of_the_maps_stand_as_they_were_after_a_look_through_lenses(engine: WithText) -> None:
    app = page(engine)
    app.session_state["map_from"] = "layerwise"
    app.session_state["layer_tab"] = "Through lenses"
    app.run()
    app.session_state["layer_tab"] = "Spectra"
    settled(app.run())
    assert app.session_state["map_from"] == "layerwise"
