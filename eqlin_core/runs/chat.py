"""A chat as messages, and as the text in which a person writes one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from eqlin_core import arguments
from eqlin_core.runs.text import ASSISTANT

Message = Mapping[str, str]  # "role" and "content"
WRITTEN_ROLES = ("system", "user", ASSISTANT)
_AS_WRITTEN = re.ASCII | re.IGNORECASE | re.MULTILINE  # of all letters, a long s would be an s
_MARKER = re.compile(rf"^({'|'.join(WRITTEN_ROLES)}):[ \t]*", _AS_WRITTEN)
_ESCAPED = re.compile(rf"^\\(?=\\*({'|'.join(WRITTEN_ROLES)}):)", _AS_WRITTEN)
_TO_ESCAPE = re.compile(rf"^(?=\\*({'|'.join(WRITTEN_ROLES)}):)", _AS_WRITTEN)


def read_chat(written: str) -> list[dict[str, str]]:
    """The messages of a chat that is written as text: a line that begins ``user:``, say, opens one.

    The roles are ``system``, ``user`` and ``assistant``. A text without such a line is one message of the user; a
    backslash before such a word keeps it text. What stands before the first message, unless it is blank, is the user's.
    """
    arguments.text("written", written)
    found = list(_MARKER.finditer(written))
    before = written[: found[0].start()] if found else written
    parts = [("user", before)] if before.strip() else []
    ends = [marker.start() for marker in found[1:]] + [len(written)]
    parts += [(marker[1].lower(), written[marker.end() : end]) for marker, end in zip(found, ends, strict=False)]
    last = len(parts) - 1
    # What the assistant has begun may end in a space, which is the beginning of what follows.
    return [
        {"role": role, "content": _ESCAPED.sub("", text.strip("\n") if i == last else text.strip())}
        for i, (role, text) in enumerate(parts)
    ]


def write_chat(chat: Sequence[Message]) -> str:
    """The text that ``read_chat`` reads as these messages, without blanks around them.

    Raises EqlinError for a role that it does not read.
    """
    messages = checked_chat(chat)
    for message in messages:
        arguments.choice("The role of a written message", message["role"], WRITTEN_ROLES)
    return "\n".join(f"{m['role']}: {_TO_ESCAPE.sub(chr(92) * 2, m['content'])}" for m in messages)


def checked_chat(chat: Any) -> list[dict[str, str]]:
    """The messages, each with a role and a content. Raises EqlinError for what is no chat."""
    takes = 'a list of messages such as {"role": "user", "content": "Hello"}'
    found = arguments.several("chat", chat, takes, least=1)
    for message in found:
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            arguments.wrong_type("A message of chat", message, "a dictionary with a role and a content")
        arguments.text("The role of a message", message["role"])
        arguments.text("The content of a message", message["content"])
    return [{"role": m["role"], "content": m["content"]} for m in found]
