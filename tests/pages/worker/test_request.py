"""What a visitor asks for: equal requests are one computation, and everything that changes numbers tells them apart."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from eqlin_core.models.checkpoints import DTYPES
from eqlin_core.models.presets import PRESETS
from pages.worker.request import DEFAULT_MODEL, EXAMPLES, PRECISIONS, Request


def test_equal_requests_are_one_key() -> None:
    assert {Request("a"): 1}[Request("a")] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "b"},
        {"model": "x"},
        {"dtype": "float64"},
        {"gated_path": "gate"},
        {"attention": "half"},
        {"begin": True},
        {"chat": True},
        {"answer": "b"},
        {"position": 0},
    ],
)
def test_everything_that_changes_the_numbers_makes_another_request(change: dict[str, Any]) -> None:
    assert dataclasses.replace(Request("a"), **change) != Request("a")


def test_the_form_offers_only_what_the_engine_knows() -> None:
    assert set(PRECISIONS) == set(DTYPES)
    assert DEFAULT_MODEL not in PRESETS


def test_the_examples_are_prompts_and_the_first_page_shows_the_first() -> None:
    assert Request().prompt == EXAMPLES[0]
    assert len(set(EXAMPLES)) == len(EXAMPLES) >= 5
    assert all(example.strip() for example in EXAMPLES)


def test_a_plain_request_is_called_what_it_was_before_there_were_answers() -> None:
    assert repr(Request("a")) == (
        "Request(prompt='a', model='smollm2-135m', dtype='float32', gated_path='up', attention='held', begin=False)"
    )
    assert repr(Request("a", begin=True, position=3)).endswith("begin=True, position=3)")
    assert repr(Request("a", chat=True, answer="b")).endswith("begin=False, chat=True, answer='b')")


def test_names_tell_requests_apart_even_where_a_text_looks_like_a_default() -> None:
    odd = [Request("a"), Request("a", answer="chat=False"), Request("a", answer="answer=''"), Request("chat=False")]
    assert len({repr(request) for request in odd}) == len(odd)


def test_maps_are_of_the_prompt_unless_a_position_is_said_and_the_text_is_the_same_at_every_position() -> None:
    answered = Request("a", answer="b")
    assert answered.explained == Request("a")
    at = dataclasses.replace(answered, position=3)
    assert at.explained == at
    assert at.whole == answered.whole == answered
    assert dataclasses.replace(at, position=0).whole == at.whole
    assert Request("a", chat=True).explained != Request("a")
