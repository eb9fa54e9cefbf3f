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
