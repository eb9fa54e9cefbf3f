"""An answer that was asked for goes under the prompt that it was asked for, or nowhere."""

from __future__ import annotations

import pytest

import eqlin_core
from pages.worker.engine import Engine
from tests.pages.answers.answer_cases import (
    SOON,
    Answering,
    analyse,
    page,
    press,
    settled,
    shown,
    turned,
    until,
    wanted,
)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Answering:
    made = Answering()
    monkeypatch.setattr(eqlin_core, "continue_text", made)
    return made


def test_the_models_answer_is_explained_under_its_prompt(engine: Engine, answering: Answering) -> None:
    app = press(page(), "ask_first")
    answering.open.set()
    until(app, lambda: shown(app).answer == " is red")
    assert settled(app).text_area(key="answer").value == " is red"
    assert "The model ended its answer by itself." in [caption.value for caption in app.caption]
    assert answering.asked == [("the bridge", "")]


def test_another_prompt_gives_up_the_answer_that_is_on_its_way(engine: Engine, answering: Answering) -> None:
    app = press(page(), "ask_first")
    assert answering.entered.wait(SOON)
    settled(analyse(app, "red and blue"))
    assert (shown(app).prompt, shown(app).answer) == ("red and blue", "")
    assert app.text_area(key="answer").value == ""
    assert "There is no answer yet" in app.info[0].value
    assert "generated" not in wanted(app).jobs.snapshots
    assert answering.asked == [("the bridge", "")]


def test_an_answer_that_is_typed_meanwhile_stays(engine: Engine, answering: Answering) -> None:
    app = press(page(), "ask_first")
    assert answering.entered.wait(SOON)
    analyse(app, answer=" is blue")
    answering.open.set()
    assert shown(settled(app)).answer == app.text_area(key="answer").value == " is blue"


def test_a_prompt_that_was_analysed_on_another_page_gives_it_up_as_well(engine: Engine, answering: Answering) -> None:
    app = press(page(), "ask_first")
    assert answering.entered.wait(SOON)
    turned(analyse(turned(app, "tokens"), "red and blue"), "answer")
    answering.open.set()
    settled(app)
    assert (shown(app).prompt, shown(app).answer) == ("red and blue", "")
    assert answering.asked == [("the bridge", "")], "it is not started again"


def test_on_another_page_and_back_the_same_prompt_is_still_answered(engine: Engine, answering: Answering) -> None:
    app = press(page(), "ask_first")
    turned(turned(app, "tokens"), "answer")
    answering.open.set()
    until(app, lambda: shown(app).answer == " is red")
    assert shown(app).prompt == "the bridge"


def test_why_there_is_no_answer_is_said_until_something_else_is_asked(engine: Engine) -> None:
    app = page()
    app.number_input(key="ask_most").set_value(64)
    settled(press(app, "ask"))
    (said,) = app.error
    assert "with 64 new ones is longer than the 64 that this model reads" in said.value
    assert [error.value for error in app.run().error] == [said.value], "it can be read"
    settled(analyse(app, "red and blue"))
    assert not app.error
    assert "There is no answer yet" in app.info[0].value
    settled(analyse(app, "the bridge"))
    assert not app.error, "it was said"
    settled(press(app, "ask"))
    assert len(app.error) == 1
    app.number_input(key="ask_most").set_value(2)
    press(app, "ask")
    until(app, lambda: not app.error)


def test_an_answer_to_what_is_shown_does_not_go_under_what_was_typed_and_refused(
    engine: Engine, answering: Answering
) -> None:
    app = settled(analyse(page(), "long " * 40))
    assert "reads at most 64" in app.error[0].value
    assert shown(app).prompt == "the bridge"
    press(app, "ask_first")
    answering.open.set()
    until(app, lambda: shown(app).answer == " is red")
    assert shown(settled(app)).prompt == app.text_area(key="prompt").value == "the bridge"
    assert not app.error


def test_what_the_model_had_answered_when_it_was_cancelled_is_taken(engine: Engine, answering: Answering) -> None:
    app = press(page(), "ask_first")
    assert answering.entered.wait(SOON)
    press(app, "page_cancel")
    until(app, lambda: shown(app).answer == " is")
    assert "Cancelled: this is what the model had answered by then." in [c.value for c in settled(app).caption]


def test_an_answer_that_is_cancelled_before_its_first_whole_character_is_none(
    engine: Engine, answering: Answering
) -> None:
    answering.so_far = ""
    app = press(page(), "ask_first")
    assert answering.entered.wait(SOON)
    settled(press(app, "page_cancel"))
    assert "There is no answer yet" in app.info[0].value
    assert shown(app).answer == ""
