"""A prompt, or a chat, with the answer that follows it: token ids, and whose words each token is."""

from __future__ import annotations

from collections.abc import Sequence

from eqlin_core import arguments
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.models.baselines import with_begin
from eqlin_core.models.chat import chat_tokens
from eqlin_core.models.checkpoints import quiet
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.models.prompts import CheckedIds, prompt_ids
from eqlin_core.runs.chat import Message, checked_chat
from eqlin_core.runs.text import ANSWER, ASSISTANT, PROMPT, TEMPLATE, RunText


def read_text(
    lm: LanguageModel,
    prompt: str | None = None,
    *,
    token_ids: Sequence[int] | None = None,
    chat: Sequence[Message] | None = None,
    answer: str | Sequence[int] | None = None,
    begin: bool = False,
) -> RunText:
    """The text that a prompt, its token ids or a ``chat`` make with an ``answer`` (a text, or token ids) after it.

    A chat stands in the model's own template; what its last message says as the assistant is the answer's beginning.
    ``begin`` puts the model's begin-of-text token first. Raises EqlinError for an empty prompt, unknown ids, a text
    longer than the model reads, and a chat where the model has no template.
    """
    checked_model(lm)
    if sum(given is not None for given in (prompt, token_ids, chat)) != 1:
        raise InvalidValue("Give one of a prompt, token_ids=[...] and chat=[...].")
    before, begun = "", ""
    if chat is None:
        ids = list(prompt_ids(lm, prompt, token_ids))
        messages, names = [0] * len(ids), [PROMPT]
        before = prompt or ""
    else:
        found = chat_tokens(lm, chat)
        ids, messages, before, begun = list(found.token_ids), list(found.messages), found.text, found.begun
        names = [m["role"] for m in checked_chat(chat)]
    if arguments.flag("begin", begin):
        longer = with_begin(lm, ids)
        messages = [-1] * (len(longer) - len(ids)) + messages
        ids = longer
    new = _read_on(lm, before, ids, begun, chat is not None)
    if isinstance(answer, str):
        new += _read_on(lm, before + begun, [*ids, *new], answer, chat is not None)
    elif answer is not None:
        several = arguments.several("answer", answer, "a text or a list of token ids")
        new += [arguments.whole("A token id", i) for i in several]
    roles = [TEMPLATE if m < 0 else names[m] for m in messages]
    whole = prompt_ids(lm, None, [*ids, *new])
    return RunText(
        token_ids=list(whole),
        tokens=lm.token_strings(whole),
        roles=roles + [ANSWER if chat is None else ASSISTANT] * len(new),
        messages=messages + [max(messages, default=0) + 1] * len(new),
        first=len(ids),
    )


def chat_ids(lm: LanguageModel, chat: Sequence[Message]) -> CheckedIds:
    """The checked ids of a chat in the model's template, with what the assistant has begun to say."""
    return prompt_ids(lm, None, read_text(lm, chat=chat).token_ids)


def _read_on(lm: LanguageModel, before: str, ids: Sequence[int], text: str, template: bool) -> list[int]:
    """The ids of a text that goes on after others: those of both together, where they begin with what is there.

    A tokenizer that marks the beginning of words, or of texts, reads a text by itself as other tokens.
    """
    if not arguments.text("answer", text):
        return []
    if lm.tokenizer is None:
        raise EqlinError(f"{lm.name} has no tokenizer: give the answer as token ids.")
    if before:
        own, together = (_encoded(lm, whole, template) for whole in (before, before + text))
        if own and together[: len(own)] == own and list(ids[-len(own) :]) == own:
            return together[len(own) :]
    return _encoded(lm, text, True)


def _encoded(lm: LanguageModel, text: str, template: bool) -> list[int]:
    """The ids of a text, with the special tokens that a tokenizer adds unless its ``template`` has put them there."""
    if not template:
        return lm.encode(text)
    assert lm.tokenizer is not None
    with quiet():
        return [int(i) for i in lm.tokenizer(text, add_special_tokens=False)["input_ids"]]
