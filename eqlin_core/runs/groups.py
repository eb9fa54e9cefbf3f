"""Tokens of a text in groups: words, sentences, lines, the messages of a chat; and sums of numbers over groups."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from unicodedata import category

import numpy as np
from jaxtyping import Float

from eqlin_core import arguments
from eqlin_core.runs.text import TEMPLATE, RunText
from eqlin_core.runs.values import Array

GROUPINGS = ("token", "word", "sentence", "line", "role")
_SENTENCE_END = re.compile(r"[.!?…][\"'”’»)\]]*\s*$")
_CLOSING_WIDE = "」』”’）"
_SENTENCE_END_WIDE = re.compile(rf"[。！？][{_CLOSING_WIDE}]*\s*$")  # after which no space stands
_PIECE_OF_A_CHARACTER = r"<0x[0-9A-F]{2}>"
_BEGINS, _ENDS = re.compile(f"^{_PIECE_OF_A_CHARACTER}"), re.compile(f"{_PIECE_OF_A_CHARACTER}$")
# Tokens that are looked back on: a full stop and what closes after it may each be one.
_LOOK_BACK = 4


@dataclass(frozen=True)
class Group:
    """Tokens that belong together, by their positions in order; ``label`` is their text, ``role`` whose words."""

    label: str
    members: tuple[int, ...]
    role: str


def groups_of(text: RunText, by: str, *, template_together: bool = True) -> list[Group]:
    """The groups of a text in the order of their first tokens: every token is in one, and none holds two roles.

    ``by``: "token", "word" (from a space to the next, punctuation by itself), "sentence" (to a full stop, a question or
    an exclamation mark that a space or the end follows, or a line's end), "line" (with blank ones after it), or "role"
    (a message of a chat, the prompt, the answer). The template of a chat is one group wherever it stands, unless
    ``template_together`` is False.
    Words of scripts without spaces are not told apart. Raises EqlinError for another ``by``.
    """
    arguments.choice("by", by, GROUPINGS)
    arguments.instance("text", text, RunText, "a RunText")
    template_together = arguments.flag("template_together", template_together)
    breaks = _BREAKS[by]
    members: list[list[int]] = []
    template: list[int] | None = None
    for i, token in enumerate(text.tokens):
        same = i > 0 and (text.messages[i], text.roles[i]) == (text.messages[i - 1], text.roles[i - 1])
        if text.roles[i] == TEMPLATE and template_together:
            if template is None:
                template = []
                members.append(template)
            template.append(i)
        elif same and not (text.roles[i] != TEMPLATE and breaks(_end_of(text, members[-1]), token)):
            members[-1].append(i)
        else:
            members.append([i])
    return [_group(text, group) for group in members]


def summed(table: Float[Array, "rows tokens"], groups: Sequence[Group]) -> Float[Array, "rows groups"]:
    """The sums of a table's columns over groups of them."""
    return np.stack([table[:, list(group.members)].sum(1) for group in groups], axis=1)


def _group(text: RunText, members: Sequence[int]) -> Group:
    role = text.roles[members[0]]
    label = "template" if role == TEMPLATE and len(members) > 1 else "".join(text.tokens[i] for i in members)
    return Group(label, tuple(members), role)


def _end_of(text: RunText, members: Sequence[int]) -> str:
    return "".join(text.tokens[i] for i in members[-_LOOK_BACK:])


def _word_begins(before: str, token: str) -> bool:
    if not before or not token:  # of which nothing is seen
        return False
    if before[-1].isspace() or token[0].isspace():
        return True
    return (_of_a_word(before[-1]) or bool(_ENDS.search(before))) != (
        _of_a_word(token[0]) or bool(_BEGINS.match(token))
    )


def _of_a_word(character: str) -> bool:
    return character.isalnum() or character in "'’_" or category(character).startswith("M")  # marks stand on letters


def _sentence_begins(before: str, token: str) -> bool:
    if _blank_line(token):
        return False
    if "\n" in before:
        return True
    if _SENTENCE_END_WIDE.search(before) and token[:1] not in _CLOSING_WIDE:
        return True
    return bool(_SENTENCE_END.search(before)) and (token[:1].isspace() or before[-1:].isspace())


def _blank_line(token: str) -> bool:
    """Whether a token ends a line in which nothing stands: it belongs to what was before."""
    return "\n" in token and not token.strip()


_BREAKS: dict[str, Callable[[str, str], bool]] = {
    "token": lambda _before, _token: True,
    "word": _word_begins,
    "sentence": _sentence_begins,
    "line": lambda before, token: "\n" in before and not _blank_line(token),
    "role": lambda _before, _token: False,
}
