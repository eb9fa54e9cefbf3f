"""The text of a request as its model reads it: prompt or chat, with the answer, up to the explained position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eqlin_core import arguments
from pages.worker.request import Request

if TYPE_CHECKING:
    from eqlin_core import LanguageModel
    from eqlin_core.models.prompts import CheckedIds
    from eqlin_core.runs.text import RunText


def read(model: LanguageModel, request: Request) -> RunText:
    """Prompt or chat, with the answer. Raises EqlinError for what the model cannot read."""
    from eqlin_core import read_chat, read_text  # noqa: PLC0415 - torch stays off the script thread

    return read_text(
        model,
        None if request.chat else request.prompt,
        chat=read_chat(request.prompt) if request.chat else None,
        answer=request.answer or None,
        begin=request.begin,
    )


def explained_ids(model: LanguageModel, request: Request) -> CheckedIds:
    """The ids up to the position that is explained: what comes after it changes nothing. Raises EqlinError."""
    from eqlin_core.models.prompts import prompt_ids  # noqa: PLC0415

    ids = read(model, request).token_ids
    if request.position is not None:
        last = arguments.position("position", request.position, len(ids), f"the text has {len(ids)} tokens")
        ids = ids[: last % len(ids) + 1]
    return prompt_ids(model, None, ids)


def written(model: LanguageModel, request: Request, ids: Sequence[int]) -> str:
    """What a run of these ids says of them to people, so that it can be checked: the prompt unless it is more."""
    if not request.chat and not request.answer and request.position is None:
        return request.prompt
    from eqlin_core import read_chat  # noqa: PLC0415
    from eqlin_core.models.written import written_as  # noqa: PLC0415

    if request.chat:
        return written_as(model, ids, chat=read_chat(request.prompt))
    return written_as(model, ids, request.prompt)


def following(model: LanguageModel, request: Request) -> list[int]:
    """The token that follows the explained position of the text; none at its end."""
    if request.position is None:
        return []
    ids = read(model, request).token_ids
    after = request.position % len(ids) + 1
    return ids[after : after + 1]
