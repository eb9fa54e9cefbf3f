"""The prompts on which methods are measured: three lists written for this, with the known answer if there is one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

from eqlin_core import arguments
from eqlin_core.errors import InvalidValue

LISTS = ("facts", "patterns", "paragraphs")


@dataclass(frozen=True)
class Prompt:
    """One prompt: its text, its kind ("agreement", "story" ...), and where its known answer stands.

    ``truth`` is the word that is known to decide the next one, ``start`` the character at which it begins: the subject
    of a sentence whose verb is due, or what stood before the word that is to be copied. Empty where nothing is known.
    """

    text: str
    kind: str
    truth: str = ""
    start: int = -1


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
