"""Page Start on a tiny model: each step says what it promises, with numbers that are those of the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core.analysis.matrix import reconstruction
from eqlin_core.figures import format_error, format_number
from pages.story.steps import NAMES, STEPS
from pages.story.terms import AGREEMENT, AS_PUBLISHED, MEASURED
from tests.pages.tiny_cases import REQUEST, TinyEngine, finished_visit, settled, tiny_engine

LINKS: list[str] = []
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyEngine]:
    # A page that runs alone knows no others; that these are there is a browser test's part.
    monkeypatch.setattr("streamlit.page_link", lambda page, **_kwargs: LINKS.append(page))
    with tiny_engine(monkeypatch) as made:
        yield made


def told(engine: TinyEngine, step: int) -> AppTest:
    session = finished_visit(engine)
    session.jobs.start("split", session._question(REQUEST))
    assert session.jobs.wait("split", 20)
    app = AppTest.from_file("../../../pages/start.py", default_timeout=30)
    for key, value in {"in_app": True, "eqlin": session, "step": NAMES[step]}.items():
        app.session_state[key] = value
    app = settled(app.run())
    assert [title.value for title in app.title] == [STEPS[step].sentence], "one heading of the first level"
    return app


def html(app: AppTest) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def test_the_words_and_both_sides_of_the_equation_are_those_of_the_run(engine: TinyEngine) -> None:
    app = told(engine, 0)
    run = app.session_state["eqlin"].tokens
    terms, bias, total = run.split(run.targets[0].row)
    assert f"{bias + float(np.sum(terms)):.5f}" in html(app)
    assert f"{total:.5f}" in html(app)
    assert html(app).count("<sub>") == 2 * len(run.tokens)
    assert all(f"{term:+.2f}".replace("-", "−") in html(app) for term in terms)


def test_what_freezing_is_for_is_a_pair_of_measured_errors(engine: TinyEngine) -> None:
    (said,) = [text.value for text in told(engine, 1).markdown if "misses the output" in text.value]
    assert f"**{format_error(reconstruction(engine.lin, ('attention', 'norms', 'gates')).error)}**" in said
    assert f"**{format_number(reconstruction(engine.lin, ()).error)}**" in said


def test_the_switch_between_the_maps_changes_the_waterfall_and_what_was_measured(engine: TinyEngine) -> None:
    app = told(engine, 2)
    before = [caption.value for caption in app.caption]
    assert any("map half, attention half" in caption for caption in before)
    app.segmented_control(key="story_map").set_value(AS_PUBLISHED)
    settled(app.run())
    assert any("map up" in caption.value for caption in app.caption)
    facts = f"**{AGREEMENT[AS_PUBLISHED][0]:.2f}**"
    assert any(facts in text.value for text in app.markdown)


def test_the_steps_lead_to_one_another(engine: TinyEngine) -> None:
    app = told(engine, 0)
    assert app.button(key="step-back").disabled
    app.button(key="step-next").click().run()
    assert app.title[0].value == STEPS[1].sentence
    app.button(key="step-back").click().run()
    assert app.title[0].value == STEPS[0].sentence


def test_every_step_leads_to_a_page_that_is_there(engine: TinyEngine) -> None:
    LINKS.clear()
    told(engine, 0)
    assert STEPS[0].page in LINKS
    assert all((ROOT / step.page).is_file() for step in STEPS)


@pytest.mark.parametrize(("name", "row"), [(AS_PUBLISHED, "up"), (MEASURED, "half, attention half")])
def test_the_agreement_that_is_told_is_that_of_the_document(name: str, row: str) -> None:
    table = (ROOT / "docs" / "faithfulness.md").read_text(encoding="utf-8").splitlines()
    (line, *_) = [one for one in table if one.startswith(f"| logit, baseline zero, {row} * |")]
    assert tuple(float(cell.split()[0]) for cell in line.split("|")[3:6]) == AGREEMENT[name]
