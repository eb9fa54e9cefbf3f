"""Sentences that repeat what a visitor typed, at a length that fits a page."""

from __future__ import annotations

import re

LONGEST_WORD, LONGEST = 120, 700
_LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")


def shortened(sentence: str) -> str:
    """The sentence with the midst of every word left out that is longer than a line, and of itself if it is a page."""
    cut = _LONG_WORD.sub(lambda word: _without_midst(word[0], LONGEST_WORD), sentence)
    return _without_midst(cut, LONGEST)


def _without_midst(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    half = (length - 1) // 2
    return f"{text[:half]}…{text[-half:]}"
