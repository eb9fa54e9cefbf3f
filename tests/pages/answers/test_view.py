"""What page Answer draws of an answer."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core.figures import answer as figure
from pages.answers import view
from pages.worker.engine import Engine
from tests.pages.answers.answer_cases import page, settled


def labels(app: AppTest) -> list[str]:
    return [box.label for box in app.main.selectbox]


def measuring(app: AppTest) -> list[str]:
    """The button by which leave-one-out is asked for."""
    return [button.label for button in app.button if button.label.startswith("Measure")]


def test_how_tokens_are_deleted_can_be_chosen_again_where_it_cannot_be_done(engine: Engine) -> None:
    app = settled(page(prompt="the", answer=" is red", fold="word"))
    assert "Deleted by" in labels(app)
    assert not app.error
    app.selectbox(key="deletion").set_value("removal").run()
    (error,) = settled(app).error
    assert "With everything before the answer removed" in error.value
    assert "Deleted by" in labels(app)
    app.selectbox(key="deletion").set_value("mean embedding").run()
    assert not settled(app).error
    assert any(said.value.startswith("Rank agreement") for said in app.markdown)


def test_what_is_measured_by_word_does_not_stand_for_more_groups_than_are_measured_unasked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "UNASKED", 6)
    app = settled(page(answer=" is red", fold="word"))
    assert not measuring(app)
    app.button_group(key="fold").set_value("token").run()
    assert measuring(settled(app)) == ["Measure: the model runs 10 times"]
    assert "Deleted by" in labels(app)
    settled(app.button(key="measure-groups").click().run())
    assert not measuring(app)
    assert any(said.value.startswith("Rank agreement") for said in app.markdown)


@pytest.mark.parametrize(("most", "words"), [(12_000, "Click a cell to"), (2, "Click the last cell of a row to")])
def test_it_says_where_a_row_can_be_clicked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, most: int, words: str
) -> None:
    monkeypatch.setattr(figure, "MOST_POINTS", most)
    app = settled(page(answer=" is red"))
    assert any(words in caption.value for caption in app.caption)
