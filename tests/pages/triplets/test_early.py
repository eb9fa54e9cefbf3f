"""Page Spectra while only a few tokens' triplets are there: what it shows of them, and what it says of the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core.analysis.early import early_spectra
from eqlin_core.runs.files import load_run, save_run
from pages.widgets.token_choice import token_name
from pages.worker import analysis
from pages.worker.engine import Engine
from pages.worker.question import question
from tests.pages.tiny_cases import REQUEST, TinyEngine, finished_visit, settled, tiny_engine

ONE: dict[str, Any] = {"triplets_of": "One token's triplets"}  # the tab that is open


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyEngine]:
    with tiny_engine(monkeypatch) as made:
        yield made


@question("it")
def look_up(engine: Engine, progress: Any) -> None:
    """Keeps the visit busy until its end is taken in."""


def early_page(engine: TinyEngine, *, busy: bool = True, **state: Any) -> AppTest:
    """The page of a visit whose matrix is still under way, or was cancelled."""
    session = finished_visit(engine)
    session.spectra = None
    *_, session.early = early_spectra(engine.lin, [4, 1], 3)
    session.cancelled = not busy
    if busy:
        session.lookups.start("a look-up", look_up())
    app = AppTest.from_file("../../../pages/spectra.py", default_timeout=30)
    app.session_state["in_app"], app.session_state["eqlin"] = True, session
    for key, value in state.items():
        app.session_state[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


def headers(app: AppTest) -> list[str]:
    return [header.value for header in app.header]


def said(app: AppTest) -> str:
    return " ".join(element.value for element in [*app.caption, *app.info])


def test_the_tokens_that_are_there_have_curves_and_triplets(engine: TinyEngine) -> None:
    app = early_page(engine)
    assert headers(app) == ["Singular values of the first tokens' matrices", "These tokens come first"]
    assert "The 3 largest triplets of 2 tokens among those with the largest contributions" in said(app)
    assert "follow with the matrix" in said(app)
    assert "hold up to" in said(app)
    app = early_page(engine, **ONE)
    assert f"Singular triplets of {engine.lin.tokens[4]}" in headers(app)
    assert "Triplet 1: full read-out" in headers(app)
    (table,) = app.dataframe
    early = app.session_state["eqlin"].early
    assert table.value["σ"].tolist() == early.S[4].tolist()


def test_nothing_that_needs_all_tokens_is_drawn_or_computed(engine: TinyEngine) -> None:
    app = early_page(engine)
    assert "Stable rank" not in headers(app)
    assert "How few triplets predict the same?" not in headers(app)
    assert "Joint spectrum of all tokens" not in headers(app)
    assert not [job for job in engine.worker.queue() if "rank" in job.label or "joint" in job.label]


def test_a_token_that_is_not_there_says_when_it_comes_and_stays_chosen(engine: TinyEngine) -> None:
    name = token_name(engine.lin.tokens, 2)
    app = early_page(engine, token=name, **ONE)
    assert "This token's triplets follow with the matrix" in said(app)
    assert not app.dataframe
    app.session_state["eqlin"].spectra = finished_visit(engine).spectra
    app.session_state["eqlin"].early = None
    settled(app.run())
    assert app.selectbox(key="token").value == name
    assert f"Singular triplets of {engine.lin.tokens[2]}" in headers(app)


def test_the_chosen_triplet_survives_the_full_spectra(engine: TinyEngine) -> None:
    app = early_page(engine, triplet=5, **ONE)
    assert "Triplet 3: full read-out" in headers(app)
    app.session_state["eqlin"].spectra = finished_visit(engine).spectra
    settled(app.run())
    assert "Triplet 6: full read-out" in headers(app)


def test_after_a_cancellation_the_page_does_not_promise_the_rest(engine: TinyEngine) -> None:
    app = early_page(engine, busy=False, token=token_name(engine.lin.tokens, 2), **ONE)
    assert "follow" not in said(app)
    assert "need the matrix, which was not finished" in said(app)


def test_the_engine_publishes_each_token_and_saves_only_the_full_spectra(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eqlin_core.analysis.early.early_tokens", lambda lin, progress: [4, 1])
    published, kept = [], []
    monkeypatch.setattr("pages.worker.worker.Reporter.publish", lambda self, name, value: published.append(value))
    monkeypatch.setattr(engine.saved, "keep", lambda name, request, run: kept.append(run))
    job = engine.submit(analysis.spectra(REQUEST), "visitor")
    assert job.wait(20)
    assert [early.there for early in published] == [(4,), (1, 4)]
    assert kept == [job.snapshot().result]
    assert np.isfinite(kept[0].S).all()


def test_an_early_result_that_was_saved_by_hand_is_not_taken_for_a_run(engine: TinyEngine, tmp_path: Any) -> None:
    from eqlin_core.errors import EqlinError

    (early,) = early_spectra(engine.lin, [2], 3)
    save_run(early, tmp_path / "early.npz")
    with pytest.raises(EqlinError, match="holds no run"):
        load_run(tmp_path / "early.npz")
