"""What ``eqlin run`` is asked to explain: a prompt or a chat, the answer after it, and a position in both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eqlin_core import arguments
from eqlin_core.command.waiting import say
from eqlin_core.errors import InvalidValue
from eqlin_core.progress import Progress
from eqlin_core.reprs import counted

if TYPE_CHECKING:
    from eqlin_core.models.language_model import LanguageModel
    from eqlin_core.runs.text import RunText


@dataclass(frozen=True)
class Asked:
    """How the prompt is read and what follows it: see ``eqlin run --help``. ``generate`` tokens follow ``answer``."""

    chat: bool = False
    answer: str | None = None
    generate: int | None = None
    position: int | None = None


PLAIN = Asked()


def read_asked(
    lm: LanguageModel, prompt: str, asked: Asked, progress: Progress | None = None
) -> tuple[RunText, int, list[dict[str, str]] | None]:
    """(the text with its answer, the position in it whose next token is explained, the messages of a chat).

    What the model is to answer is generated, and how that ended said on stderr. Raises EqlinError for what
    ``read_text`` and ``continue_text`` refuse, for an empty answer and for a position that the text does not have.
    """
    from eqlin_core.analysis.answer import continue_text  # noqa: PLC0415 - torch is slow to import
    from eqlin_core.models.texts import read_text  # noqa: PLC0415
    from eqlin_core.runs.chat import read_chat  # noqa: PLC0415

    if asked.answer == "":
        raise InvalidValue("The answer is empty: type at least one word of it, or leave --answer out.")
    chat = read_chat(prompt) if asked.chat else None
    plain = prompt if chat is None else None
    answer = asked.answer or ""
    if asked.generate is not None:
        new = continue_text(lm, plain, chat=chat, answer=answer, max_new_tokens=asked.generate, progress=progress)
        answer += new.text
        if new.words:
            say(new.words)
    text = read_text(lm, plain, chat=chat, answer=answer or None)
    n = len(text.token_ids)
    if asked.position is None:
        return text, text.first - 1, chat
    at = arguments.position("--position", asked.position, n, f"the text has {counted(n, 'token')}")
    return text, at % n, chat
