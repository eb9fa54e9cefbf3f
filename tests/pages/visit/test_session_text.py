"""What a visit knows of the text behind its analysis: the answer, and the token that is explained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from eqlin_core.runs.text import RunText
from pages.worker.request import Request
from tests.pages.run_cases import MadeUpEngine
from tests.pages.visit.session_cases import finished, settle
from tests.pages.worker.worker_cases import Gate

BRIDGE = Request("The bridge")
ANSWERED = Request("The bridge", answer=" is red")
TEXT = RunText([1, 2, 3, 4], ["The", " bridge", " is", " red"], ["prompt"] * 2 + ["answer"] * 2, [0, 0, 1, 1], 2)


@pytest.fixture
def texts(engine: MadeUpEngine, monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What texts were asked for; each is the same."""
    asked: list[Request] = []

    def text(progress: Any, request: Request) -> RunText:
        asked.append(request)
        return TEXT

    monkeypatch.setattr(engine, "text", text, raising=False)
    return asked


def test_a_bare_prompt_is_plain_and_its_tokens_are_its_text(engine: MadeUpEngine, texts: list[Request]) -> None:
    session = finished(BRIDGE)
    assert session.plain
    text = session.text()
    assert isinstance(text, RunText)
    assert text.tokens == ["The", " bridge"]
    assert text.answer_tokens == 0
    assert session.explained(text) == 2, "what follows it"
    assert session.followed_by is None
    assert texts == [], "no model is asked"


def test_an_answer_is_behind_the_analysis_of_its_prompt_which_is_not_computed_again(
    engine: MadeUpEngine, texts: list[Request]
) -> None:
    session = finished(BRIDGE)
    session.ask(ANSWERED)
    assert not session.busy
    assert session.shown == BRIDGE
    assert not session.plain
    assert session.text() is TEXT
    assert session.explained(TEXT) == 2, "the answer's first"
    assert session.followed_by == 3, "the id of the answer's first"
    assert [what for what, _ in engine.computed].count("tokens") == 1
    session.ask(BRIDGE)
    assert session.plain


def test_another_position_is_another_analysis_of_the_same_text(engine: MadeUpEngine, texts: list[Request]) -> None:
    session = finished(ANSWERED)
    assert session.text() is TEXT
    gate = engine.hold = Gate()
    at = replace(ANSWERED, position=2)
    session.ask(at)
    assert session.asked == at
    assert session.explained(TEXT) == 3, "at once, while its maps are still made"
    gate.open.set()
    settle(session)
    assert session.shown == at
    assert not session.plain
    assert session.text() is TEXT
    assert texts == [ANSWERED], "the text was read once for both"


@pytest.mark.parametrize("changes", [{"chat": True}, {"position": 0}, {"answer": " is red"}])
def test_a_chat_an_answer_and_another_position_are_not_plain(engine: MadeUpEngine, changes: dict[str, Any]) -> None:
    assert not finished(replace(BRIDGE, **changes)).plain


@pytest.mark.parametrize(("position", "token"), [(0, 1), (2, 3), (3, 4), (-1, 4), (None, 2)])
def test_the_explained_token_follows_the_position(
    engine: MadeUpEngine, texts: list[Request], position: int | None, token: int
) -> None:
    session = finished(replace(ANSWERED, position=position))
    assert session.explained(TEXT) == token


def test_a_failed_position_leaves_the_text_and_the_explained_token(engine: MadeUpEngine, texts: list[Request]) -> None:
    session = finished(ANSWERED)
    session.ask(Request("The impossible", answer="x", position=1))
    settle(session)
    assert session.error
    assert session.text() is TEXT
    assert session.explained(TEXT) == 2
