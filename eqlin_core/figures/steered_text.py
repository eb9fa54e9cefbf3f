"""A prompt with its continuation as HTML, the words that another continuation does not have marked."""

import re
from difflib import SequenceMatcher
from html import escape
from itertools import groupby

from .palette import Theme, look


def marked_html(prompt: str, text: str, other: str, theme: Theme = "light", *, ended: bool = False) -> str:
    """The prompt in grey and its continuation, the words marked that the `other` one does not have there."""
    colours = look(theme)
    words, others = _words(text.rstrip() if ended else text), _words(other)
    same: set[int] = set()
    for block in SequenceMatcher(a=others, b=words, autojunk=False).get_matching_blocks():
        same.update(range(block.b, block.b + block.size))
    parts = "".join(
        f'<mark class="eq-differs">{escape(run)}</mark>' if differs else escape(run)
        for run, differs in _runs(words, same)
    )
    end = f'<span style="color:{colours.muted}"> ∎</span>' if ended else ""
    return (
        f"<style>.eq-differs{{background:{colours.accent}26;color:inherit;border-radius:3px;padding:0.1rem 0;"
        f"-webkit-box-decoration-break:clone;box-decoration-break:clone}}</style>"
        f'<div dir="auto" style="font-size:1.06rem;line-height:1.75;white-space:pre-wrap;overflow-wrap:anywhere">'
        f'<span style="color:{colours.muted}">{escape(prompt)}</span>{parts}{end}</div>'
    )


def _runs(words: list[str], same: set[int]) -> list[tuple[str, bool]]:
    """Neighbouring words in one piece, with whether they differ; white space belongs to what differs around it."""
    differs = [i not in same and bool(word.strip()) for i, word in enumerate(words)]
    for i in range(1, len(words) - 1):
        differs[i] = differs[i] or (not words[i].strip() and differs[i - 1] and differs[i + 1])
    return [
        ("".join(word for word, _ in run), mark) for mark, run in groupby(zip(words, differs, strict=True), key=_second)
    ]


def _second(pair: tuple[str, bool]) -> bool:
    return pair[1]


def _words(text: str) -> list[str]:
    """The text in pieces, words and the white space between them in turn."""
    return re.findall(r"\s+|\S+", text)
