"""What a run says of its tokens to people: the prompt, the chat as it is written, or the tokens' own text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from eqlin_core.errors import EqlinError
from eqlin_core.models.baselines import begin_token
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.prompts import prompt_ids
from eqlin_core.models.texts import read_text
from eqlin_core.runs.chat import Message, read_chat, write_chat
from eqlin_core.runs.text import ASSISTANT


def written_as(
    lm: LanguageModel, ids: Sequence[int], prompt: str | None = None, chat: Sequence[Message] | None = None
) -> str:
    """The first that reads as these ids: the prompt, the written chat, the chat without what the assistant has begun.

    Where none does, at a position within the text, say, it is the text of the tokens, a template's own among them.
    """
    known = [] if prompt is None else [prompt]
    if chat is not None:
        asked = [*chat[:-1]] if chat[-1]["role"] == ASSISTANT else []
        known += [write_chat(messages) for messages in (chat, asked) if messages]
    return next((text for text in known if reads_as(lm, text, ids)), own_text(lm, ids))


def reads_as(lm: LanguageModel, text: str, ids: Sequence[int]) -> bool:
    """Whether a text is that of these ids: as a prompt, as a written chat, or token by token.

    A begin-of-text token may stand before the first two.
    """
    begin = begin_token(lm)
    return any(list(ids) in (found, [begin, *found]) for found in _readings(lm, text)) or text == own_text(lm, ids)


def own_text(lm: LanguageModel, ids: Sequence[int]) -> str:
    """What the tokens stand for, one after the other."""
    return "".join(lm.token_strings(ids))


def _readings(lm: LanguageModel, text: str) -> Iterator[list[int]]:
    with contextlib.suppress(EqlinError):
        yield list(prompt_ids(lm, text, None))
    with contextlib.suppress(EqlinError):
        yield read_text(lm, chat=read_chat(text)).token_ids
