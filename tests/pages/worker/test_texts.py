"""The text of a request as its model reads it: prompt or chat, with its answer, up to the explained position."""

from __future__ import annotations

from dataclasses import replace

import pytest

import eqlin_core as eq
from pages.worker.request import Request
from pages.worker.texts import explained_ids, following, read, written
from tests.eqlin_core.odd_calls import tiny_with_chat, tiny_with_text

ANSWERED = Request("the bridge", answer=" is red")
CHAT = Request("user: hello\nassistant: well", chat=True, answer=" then")


@pytest.fixture(scope="module")
def lm() -> eq.LanguageModel:
    return tiny_with_chat()


def test_a_prompt_is_read_with_its_answer_behind_it(lm: eq.LanguageModel) -> None:
    text = read(lm, ANSWERED)
    assert text.first == len(lm.encode("the bridge"))
    assert text.token_ids == lm.encode("the bridge is red")
    assert set(text.roles[: text.first]) == {"prompt"}
    assert set(text.roles[text.first :]) == {"answer"}


def test_a_chat_is_read_in_the_template_and_what_the_assistant_began_is_part_of_its_answer(
    lm: eq.LanguageModel,
) -> None:
    text = read(lm, CHAT)
    assert "".join(text.tokens) == "user:hello\n:well then"
    assert "".join(text.tokens[text.first :]) == "well then"
    assert "".join(t for t, role in zip(text.tokens, text.roles, strict=True) if role == "template") == "user:\n:"


def test_the_same_words_are_no_chat_unless_they_are_asked_for_as_one(lm: eq.LanguageModel) -> None:
    assert "".join(read(lm, replace(CHAT, chat=False, answer="")).tokens) == CHAT.prompt


@pytest.mark.parametrize(("position", "seen"), [(None, 9), (0, 1), (4, 5), (8, 9), (-1, 9)])
def test_ids_end_at_the_explained_position(lm: eq.LanguageModel, position: int | None, seen: int) -> None:
    request = replace(ANSWERED, position=position)
    whole = read(lm, ANSWERED).token_ids
    assert list(explained_ids(lm, request)) == whole[:seen]
    assert following(lm, request) == ([] if position is None else whole[seen : seen + 1])


@pytest.mark.parametrize("position", [9, 999, -10])
def test_a_position_that_is_not_there_is_refused_with_how_many_there_are(lm: eq.LanguageModel, position: int) -> None:
    with pytest.raises(eq.EqlinError, match="the text has 9 tokens"):
        explained_ids(lm, replace(ANSWERED, position=position))


def test_a_chat_needs_a_template() -> None:
    with pytest.raises(eq.EqlinError, match="template"):
        read(tiny_with_text(), CHAT)


def test_what_a_run_says_of_its_tokens_reads_as_these_tokens(lm: eq.LanguageModel) -> None:
    assert written(lm, Request("the bridge"), lm.encode("the bridge")) == "the bridge"
    at = replace(ANSWERED, position=4)
    said = written(lm, at, explained_ids(lm, at))
    assert lm.encode(said) == list(explained_ids(lm, at))
