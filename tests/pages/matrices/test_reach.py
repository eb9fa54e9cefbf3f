"""The tab of page Matrix that says how far the frozen map can be trusted, on a tiny model and in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core.analysis.validity import validity_run
from eqlin_core.figures import visible_token
from eqlin_core.runs.validity import ValidityRun
from pages.matrices.reach import ALONG, POINTS, of_reach, sentence
from tests.eqlin_core.runs.file_cases import every_run
from tests.pages.tiny_cases import TinyEngine, opened, settled, tiny_engine

TAB = "How far can I trust this?"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyEngine]:
    with tiny_engine(monkeypatch) as made:
        yield made


def page(engine: TinyEngine, **state: Any) -> AppTest:
    return opened("matrix", engine, matrix_tab=TAB, **state)


def charts(app: AppTest) -> int:
    """Beside the two of the reconstruction."""
    return len(app.get("plotly_chart")) - 2


def said(app: AppTest) -> str:
    return "".join(text.value for text in app.markdown if text.value.startswith("At `"))


def test_nothing_is_measured_unasked_and_then_the_model_s_own_alternative_is(engine: TinyEngine) -> None:
    app = page(engine)
    assert (charts(app), said(app)) == (0, "")
    assert "reach" not in app.session_state["page_jobs"].jobs.snapshots
    app.toggle(key="reach").set_value(True)
    settled(app.run())
    assert charts(app) == 2
    assert said(app) == sentence(validity_run(engine.lin, 4))


def test_a_typed_token_is_gone_towards_and_what_is_none_loses_nothing(engine: TinyEngine) -> None:
    name = visible_token(engine.lin.lm.token_strings([7])[0])
    app = page(engine, reach=True, towards=name)
    before = said(app)
    assert f"→ `{name}`:" in before
    for text, reason in (
        ("*no* token at all", "is not a single token"),
        ("🙂", "is not a single token"),
        (visible_token(engine.lin.tokens[4]), "already: choose another"),
    ):
        app.text_input(key="towards").set_value(text)
        settled(app.run())
        (warning,) = app.warning
        assert reason in warning.value.replace("\\", "")
        assert warning.value.endswith("Below stands what was measured last.")
        assert (said(app), charts(app)) == (before, 2)
    app.text_input(key="towards").set_value("  ")
    settled(app.run())
    assert not app.warning
    assert "the model's own alternative" in said(app)


def test_the_last_measure_of_another_token_does_not_stand_in(engine: TinyEngine) -> None:
    app = page(engine, reach=True)
    app.text_input(key="towards").set_value("no token at all")
    app.selectbox(key="token").select_index(1)
    settled(app.run())
    assert not app.warning[0].value.endswith("measured last.")
    assert charts(app) == 0


def test_along_its_own_direction_no_token_is_needed(engine: TinyEngine) -> None:
    app = page(engine, reach=True, way=ALONG, towards="no token at all")
    assert app.text_input(key="towards").disabled
    assert "along v₁ of its own matrix" in said(app)
    assert not app.warning


def run(**changes: Any) -> ValidityRun:
    (one,) = [one for one in every_run() if isinstance(one, ValidityRun)]
    return replace(one, **changes)


def test_the_sentence_claims_what_was_measured() -> None:
    assert sentence(run()) == (
        "At `·bridge` → `·tunnel`: the frozen map has the model's own top token at all 4 fractions measured, up to "
        "t = 1. At t = 1, the swap itself, KL is 3.00 nats, and of the +12 by which the logit of `·bay` changes the "
        "map has +3."
    )
    ids = np.array([0, 1, 5, 3])
    parted = run(frozen_ids=ids, radius=1.25, model_top=[" x"] * 4, frozen_top=[" y"] * 4, way="alternative")
    assert sentence(parted).startswith(
        "At `·bridge` → `·tunnel`, the model's own alternative here: wherever it was measured below **t = 1.25** the "
        "frozen map has the model's own top token; at t = 2.00 the model's is `·x`, the map's `·y`. They agree at 3 of "
        "the 4 fractions measured. "
    )
    ids = np.array([9, 9, 9, 9])
    assert "already at t = 0 the map has another" in sentence(run(frozen_ids=ids, radius=0.0))


def test_the_code_of_the_page_goes_the_same_way() -> None:
    assert of_reach([]) == {}
    assert of_reach([run()]) == {"towards": 7, "along": False}
    assert of_reach([run(way="direction", towards_id=None)]) == {"towards": None, "along": True}


def test_as_many_fractions_are_measured_as_the_switch_says(engine: TinyEngine) -> None:
    assert len(validity_run(engine.lin, 4).fractions) == POINTS
