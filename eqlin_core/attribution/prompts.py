"""The prompts on which methods are measured: three lists written for this, with the known answer if there is one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from eqlin_core import arguments
from eqlin_core.errors import InvalidValue
from eqlin_core.models.chat import spelled
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.prompts import prompt_ids
from eqlin_core.models.texts import read_text
from eqlin_core.runs.chat import WRITTEN_ROLES, Message, checked_chat, read_chat, write_chat

LISTS = ("facts", "patterns", "paragraphs")


@dataclass(frozen=True)
class Prompt:
    """One prompt: its text, its kind ("agreement", "story" ...), and where its known answer stands.

    ``truth`` is the word that is known to decide the next one, ``start`` the character at which it begins: the subject
    of a sentence whose verb is due, or what stood before the word that is to be copied. Empty where nothing is known.
    ``chat``: the text is a chat, as `read_chat` reads it, and stands in the model's template.
    """

    text: str
    kind: str
    truth: str = ""
    start: int = -1
    chat: bool = False

    def ids(self, lm: LanguageModel) -> list[int]:
        """Its token ids. Raises EqlinError for what `read_text` refuses."""
        return read_text(lm, chat=read_chat(self.text)).token_ids if self.chat else list(prompt_ids(lm, self.text))

    def known(self, lm: LanguageModel, ids: Sequence[int]) -> list[int]:
        """Where in ``ids`` the tokens of its known answer stand; none where there is none or it cannot be found."""
        if not self.truth:
            return []
        if self.chat:
            spans, begins = spelled(lm.token_strings(ids)), _place_in(self.text, "".join(lm.token_strings(ids)))
        elif getattr(lm.tokenizer, "is_fast", False):
            assert lm.tokenizer is not None
            spans, begins = lm.tokenizer(self.text, return_offsets_mapping=True)["offset_mapping"], 0
        else:
            return []
        if begins is None:
            return []
        start = begins + self.start
        before = len(ids) - len(spans)  # a begin-of-text token that was put there
        return [before + i for i, (a, b) in enumerate(spans) if a < start + len(self.truth) and b > start and b > a]


def as_chat(chat: Sequence[Message]) -> Prompt:
    """A chat as a prompt: its text is the written chat. Raises EqlinError for what is no chat, or cannot be written."""
    for message in checked_chat(chat):
        arguments.choice("The role of a message", message["role"], WRITTEN_ROLES)
    return Prompt(write_chat(chat), "", chat=True)


def prompt_list(name: str) -> list[Prompt]:
    """One of ``LISTS``. Raises EqlinError for another name."""
    if not isinstance(name, str) or name not in LISTS:
        raise InvalidValue(f"There is no list {arguments.shown(name)}; the lists are {', '.join(LISTS)}.")
    text = files(__package__).joinpath("lists", f"{name}.json").read_text(encoding="utf-8")
    return [_prompt(entry) for entry in json.loads(text)["prompts"]]


def _prompt(entry: dict[str, object]) -> Prompt:
    truth = entry.get("truth") or {}
    assert isinstance(truth, dict)
    known = truth.get("predecessor", truth)
    return Prompt(str(entry["text"]), str(entry["kind"]), known.get("word", ""), known.get("start", -1))


def _place_in(text: str, whole: str) -> int | None:
    """Where a text stands in another, None unless it does so once."""
    return whole.find(text) if whole.count(text) == 1 else None
