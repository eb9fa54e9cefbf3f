"""Words that name a concept, of a tokenizer that splits them into letters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eqlin_core import LanguageModel
from eqlin_core.steering.naming import naming_words
from tests.eqlin_core.steering.steering_cases import CONCEPT, lm


class Letters:
    """A tokenizer of one token for each character."""

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) % 64 for c in text]}


@pytest.fixture
def spelling() -> LanguageModel:
    return replace(lm(), tokenizer=Letters())


@pytest.mark.parametrize(
    ("concept", "words"),
    [
        ("The Golden Gate Bridge", [" Bridge", " Gate", " Golden"]),
        ("A cup of (hot) coffee!", [" coffee"]),
        ("The war", [" war"]),
        ("Paris, the city in France", [" France", " city", " Paris"]),
        ("tea or tea", [" tea"]),
    ],
)
def test_the_last_word_comes_first_and_short_ones_before_it_are_left_out(
    spelling: LanguageModel, concept: str, words: list[str]
) -> None:
    found = naming_words(spelling, concept, [1, 2])
    assert [text for text, _ in found] == words
    assert all(len(ids) == len(text) for text, ids in found)


def test_without_a_text_or_a_tokenizer_the_last_token_stands_for_the_concept() -> None:
    model = replace(lm(), tokenizer=None)
    assert [ids for _, ids in naming_words(model, "The bridge", CONCEPT)] == [[CONCEPT[-1]]]
    assert naming_words(model, "", []) == []


def test_punctuation_and_fillers_of_a_read_out_name_nothing(spelling: LanguageModel) -> None:
    found = naming_words(spelling, "A bay", [1], [",", " and", " ", "Bay", "long word"])
    assert [text for text, _ in found] == [" bay"], "a token whose text gives others is left out, too"
