"""Sentences that repeat what was typed."""

from __future__ import annotations

from pages.widgets.sentences import LONGEST, LONGEST_WORD, shortened


def test_a_sentence_of_the_usual_length_stays_as_it_is() -> None:
    sentence = "There is no model or folder '/a/folder/of/mine': check the spelling."
    assert shortened(sentence) == sentence


def test_a_word_of_a_page_loses_its_midst_and_what_to_do_stays() -> None:
    said = shortened(f"There is no model '{'x' * 10_000}': check the spelling.")
    assert len(said) < LONGEST_WORD + 60
    assert said.startswith("There is no model 'xxx")
    assert said.endswith("xxx': check the spelling.")
    many = shortened("No model " + "word " * 5000 + ": check the spelling.")
    assert len(many) <= LONGEST
    assert many.endswith(": check the spelling.")
