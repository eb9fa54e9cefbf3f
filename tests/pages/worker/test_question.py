"""A question stated once: what it is called, what tells it from others, and what answers it."""

from __future__ import annotations

from typing import Any

import pytest

from pages.worker.engine import Engine
from pages.worker.question import question


@question("the letters of {word}", interactive=True)
def letters(engine: Any, progress: Any, word: str, most: int = 3) -> list[str]:
    """The first letters of a word."""
    return list(word)[:most]


@question("the letters of {word}")
def capitals(engine: Any, progress: Any, word: str, most: int = 3) -> list[str]:
    """The same in capitals."""
    return list(word.upper())[:most]


def test_equal_questions_have_equal_keys_however_they_are_written() -> None:
    assert letters("bridge").key == letters("bridge", 3).key == letters(word="bridge", most=3).key


@pytest.mark.parametrize("other", [letters("tower"), letters("bridge", 4), capitals("bridge")])
def test_questions_that_differ_in_anything_have_different_keys(other: Any) -> None:
    assert other.key != letters("bridge").key


def test_a_label_names_what_was_asked_for() -> None:
    assert letters("bridge").label == "the letters of bridge"
    assert letters("bridge").interactive
    assert not capitals("bridge").interactive


def test_what_lacks_an_argument_is_refused_where_it_is_asked() -> None:
    with pytest.raises(TypeError, match="word"):
        letters()  # type: ignore[call-arg]


def test_the_engine_answers_equal_questions_with_one_job() -> None:
    engine = Engine()
    try:
        job = engine.submit(letters("bridge", 2), "ada")
        assert job.wait(5)
        assert job.snapshot("ada").result == ["b", "r"]
        assert engine.submit(letters("bridge", most=2), "bob") is job
        assert engine.submit(capitals("bridge", 2), "bob") is not job
    finally:
        assert engine.worker.shutdown()


def test_what_is_asked_for_by_keyword_alone_is_part_of_the_key() -> None:
    @question("a sum")
    def total(engine: Any, progress: Any, first: int, *, second: int = 0) -> int:
        return first + second

    assert total(1, second=2).key != total(1, second=3).key
    assert total(1).key == total(1, second=0).key
