"""A chat in the model's own template: its token ids, and whose words each token is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from eqlin_core import arguments
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.models.checkpoints import quiet
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.runs.chat import Message, checked_chat
from eqlin_core.runs.text import ASSISTANT


@dataclass(frozen=True)
class ChatTokens:
    """A chat as tokens, up to where the assistant goes on; of each token its message (-1: the template's own).

    ``text`` is the filled template that they are read from, ``begun`` what the assistant has said of this answer, which
    is not in it.
    """

    token_ids: list[int]
    messages: list[int]
    text: str
    begun: str


def chat_tokens(lm: LanguageModel, chat: Sequence[Message]) -> ChatTokens:
    """The chat in the template of ``lm``, up to where the assistant answers.

    A last message of the assistant is the answer that it has begun. Raises EqlinError for a model without tokenizer or
    template, and for a chat that the template does not take.
    """
    messages = checked_chat(chat)
    if lm.tokenizer is None:
        raise EqlinError(f"{lm.name} has no tokenizer: pass token_ids=[...] in place of a prompt.")
    if not lm.tokenizer.chat_template:
        raise EqlinError(f"{lm.name} has no chat template: leave it off, the prompt is then continued as it is.")
    begun = messages.pop()["content"] if messages[-1]["role"] == ASSISTANT else ""
    if not messages or not any(m["content"].strip() for m in messages):
        raise InvalidValue("The chat is empty: write what the user says, in at least one word.")
    text = _rendered(lm, messages)
    with quiet():
        encoded = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=lm.tokenizer.is_fast)
    ids = [int(i) for i in encoded["input_ids"]]
    spans = _spans(lm, messages, text)
    return ChatTokens(ids, [_owner(place, spans) for place in _places(lm, encoded, ids, text)], text, begun)


def _rendered(lm: LanguageModel, messages: Sequence[Message]) -> str:
    from jinja2 import TemplateError  # noqa: PLC0415 - which transformers brings, and imports as late

    assert lm.tokenizer is not None
    try:
        return str(lm.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))
    except (TemplateError, TypeError, ValueError) as error:
        said = arguments.short(str(error), 200).rstrip(" .")
        raise EqlinError(f"The chat template of {lm.name} does not take this chat: {said}.") from error


def _spans(lm: LanguageModel, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
    """Where each message's content stands in the rendered text, (0, 0) for one that the template has changed.

    The template is filled a second time, with marks that stand nowhere else: what is around them is the template's.
    """
    marks = [f"\ue000{chr(0xE100 + i)}\ue001" for i in range(len(messages))]
    try:
        marked = _rendered(lm, [{**m, "content": mark} for m, mark in zip(messages, marks, strict=True)])
    except EqlinError:
        marked = ""
    places = [marked.find(mark) for mark in marks]
    for contents in ([m["content"] for m in messages], [m["content"].strip() for m in messages]):
        spans, filled, after = [(0, 0)] * len(messages), "", 0
        for i in sorted(range(len(messages)), key=places.__getitem__):  # a template may put the first message elsewhere
            filled += marked[after : places[i]]
            spans[i] = (len(filled), len(filled) + len(contents[i]))
            filled, after = filled + contents[i], places[i] + len(marks[i])
        if filled + marked[after:] == text and min(places) >= 0:
            return spans
    return list(_found_in_order(text, [m["content"].strip() for m in messages]))


def _found_in_order(text: str, contents: Sequence[str]) -> Iterator[tuple[int, int]]:
    after = 0
    for content in contents:
        start = text.find(content, after) if content else -1
        after = after if start < 0 else start + len(content)
        yield (0, 0) if start < 0 else (start, after)


def _places(lm: LanguageModel, encoded: Any, ids: Sequence[int], text: str) -> list[tuple[int, int]]:
    """(first character, after the last) of every token in the text; (0, 0) where that cannot be told."""
    if "offset_mapping" in encoded:
        return [(int(start), int(end)) for start, end in encoded["offset_mapping"]]
    pieces = lm.token_strings(ids)
    if "".join(pieces) != text:
        return [(0, 0)] * len(ids)
    return spelled(pieces)


def spelled(pieces: Sequence[str]) -> list[tuple[int, int]]:
    """(first character, after the last) of every piece in the text of all."""
    return list(pairwise([0, *accumulate(map(len, pieces))]))


def _owner(place: tuple[int, int], spans: Sequence[tuple[int, int]]) -> int:
    """The message that most of a token's characters are of; -1 for the template."""
    shared = [min(place[1], end) - max(place[0], start) for start, end in spans]
    best = max(range(len(spans)), key=shared.__getitem__)
    return best if 2 * shared[best] > place[1] - place[0] > 0 else -1
