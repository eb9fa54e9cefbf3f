"""A whole answer as runs: the text, what the model answers, every answer token's sum, what it does without groups."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import torch

from eqlin_core import arguments
from eqlin_core.analysis.prompt import run_key
from eqlin_core.attribution.deletion import Deletion
from eqlin_core.attribution.group_deletion import group_deletion
from eqlin_core.dtypes import dtype_name, to_numpy, wide
from eqlin_core.errors import InvalidValue
from eqlin_core.maps.answers import answer_split
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.models.baselines import MEAN
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.readout import next_token_logits
from eqlin_core.models.texts import read_text
from eqlin_core.progress import Progress, part
from eqlin_core.resources.answers import ROWS
from eqlin_core.runs.answer import AnswerRun, ContinuedText, GroupDeletionRun
from eqlin_core.runs.chat import Message
from eqlin_core.runs.convention import PUBLISHED, Convention
from eqlin_core.runs.groups import Group
from eqlin_core.runs.prompt import RunKey
from eqlin_core.runs.split import TargetKind
from eqlin_core.runs.text import RunText
from eqlin_core.runs.values import Row
from eqlin_core.steering.generation import (
    Sampling,
    Settings,
    end_tokens,
    generate_rows,
    require_room_to_grow,
    text_of,
)

LIKELY = 3


def answer_run(
    lin: LinearMap,
    text: RunText,
    kind: TargetKind = "log-probability",
    baseline: str | int = "zero",
    progress: Progress | None = None,
) -> AnswerRun:
    """Every token of the answer of ``text`` as a sum over the text, whose map ``lin`` is (`answer_split`).

    Raises EqlinError for a map of another text, and for what `answer_split` refuses.
    """
    arguments.called("progress", progress)
    text = _text_of(lin, text)
    split = answer_split(lin, text.first, kind, baseline, part(progress, 0.0, 0.95))
    likely, ends = _likely(lin, text.first)
    return AnswerRun(
        key=run_key(lin),
        text=text,
        kind=kind,
        baseline=split.baseline,
        terms=to_numpy(split.terms),
        constants=to_numpy(split.constants),
        normalisers=to_numpy(split.normalisers),
        values=to_numpy(split.values),
        log_probabilities=to_numpy(split.log_probabilities),
        errors=to_numpy(split.errors),
        likely=likely,
        ends=ends,
        exactness=split.exactness,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def group_deletion_run(
    lin: LinearMap,
    text: RunText,
    groups: Sequence[Group],
    deletion: Deletion = MEAN,
    progress: Progress | None = None,
) -> GroupDeletionRun:
    """What every answer token loses without each group, in the untouched model: one pass a group.

    Raises EqlinError for a map of another text, and for what `group_deletion` refuses.
    """
    return _deleted(lin.lm, run_key(lin), _text_of(lin, text), groups, deletion, progress)


def text_deletion_run(
    lm: LanguageModel,
    text: RunText,
    groups: Sequence[Group],
    deletion: Deletion = MEAN,
    convention: Convention = PUBLISHED,
    progress: Progress | None = None,
) -> GroupDeletionRun:
    """``group_deletion_run`` without a map, of which only the key says anything: beside which one the numbers stand."""
    ids = tuple(text.token_ids)
    key = RunKey(lm.name, lm.revision, dtype_name(lm.dtype), ids, convention.gated_path, convention.attention)
    return _deleted(lm, key, text, groups, deletion, progress)


def _deleted(
    lm: LanguageModel,
    key: RunKey,
    text: RunText,
    groups: Sequence[Group],
    deletion: Deletion,
    progress: Progress | None,
) -> GroupDeletionRun:
    found = group_deletion(lm, text.token_ids, text.first, [g.members for g in groups], deletion, progress)
    return GroupDeletionRun(key, deletion, list(groups), to_numpy(found))


def continue_text(
    lm: LanguageModel,
    prompt: str | None = None,
    *,
    token_ids: Sequence[int] | None = None,
    chat: Sequence[Message] | None = None,
    answer: str = "",
    begin: bool = False,
    max_new_tokens: int = 24,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: str = "",
    progress: Progress | None = None,
    on_text: Callable[[ContinuedText], object] | None = None,
) -> ContinuedText:
    """What the model answers to a prompt, after an ``answer`` that is begun: the likeliest tokens, or drawn ones.

    It ends after ``max_new_tokens``, at the model's own end of text, or before the first ``stop`` text. Tokens that
    their text does not read as again are left out at the end, and counted. ``temperature``, ``top_p`` and ``seed`` as
    in `steer`; ``progress`` is told before every token, and cancels; ``on_text`` gets what is there after each. Raises
    EqlinError for what `read_text` refuses, and for a text that would be longer than the model reads.
    """
    settings = Settings(max_new_tokens, Sampling(temperature, top_p, seed), keep_logits=False)
    stop, begun = arguments.text("stop", stop), arguments.text("answer", answer)
    arguments.called("progress", progress)
    arguments.called("on_text", on_text)

    def read(added: str = "") -> RunText:
        whole = begun + added
        return read_text(lm, prompt, token_ids=token_ids, chat=chat, answer=whole or None, begin=begin)

    ids = read().token_ids
    require_room_to_grow(lm, ids, settings.max_new_tokens)
    found: list[int] = []

    def told(rows: list[list[int]]) -> None:
        found[:] = rows[0]
        text = text_of(lm, ids, found)
        if stop and stop in text:
            raise _Stopped
        if on_text is not None:
            on_text(ContinuedText(text, tuple(found), ended=False))

    with contextlib.suppress(_Stopped):
        generate_rows(lm, ids, 1, settings, progress=progress, on_tokens=told)
    ended = bool(found) and found[-1] in settings.ends(lm)
    own = found[:-1] if ended else found
    before = text_of(lm, ids, own).partition(stop)[0] if stop else None
    while before is not None and len(text_of(lm, ids, own)) > len(before):  # every token that holds a part of it goes
        own = own[:-1]
    kept = len(own)
    while kept and lm.tokenizer is not None and read(text_of(lm, ids, own[:kept])).token_ids != [*ids, *own[:kept]]:
        kept -= 1
    new = own[:kept]
    return ContinuedText(text_of(lm, ids, new), tuple(new), ended and kept == len(own), len(own) - kept)


def _text_of(lin: LinearMap, text: RunText) -> RunText:
    arguments.instance("text", text, RunText, "a text, as read_text gives one")
    if text.token_ids != checked_map(lin).token_ids:
        raise InvalidValue("The map is of another text: linearize with the token_ids of the text.")
    return text


class _Stopped(Exception):
    """The stop text has come."""


@torch.no_grad()
def _likely(lin: LinearMap, first: int) -> tuple[list[Row], float]:
    """The likeliest tokens of every row, and how likely the text's end is after the last."""
    outputs = lin.network.values.detach()[first - 1 :]
    rows: list[Row] = []
    last = torch.empty(0)
    for some in outputs.split(ROWS):
        p = wide(next_token_logits(lin.lm, some)).softmax(-1)
        best = p.topk(min(LIKELY, p.shape[-1]))
        for ids, values in zip(best.indices.tolist(), best.values.tolist(), strict=True):
            rows.append(list(zip(lin.lm.token_strings(ids), values, strict=True)))
        last = p[-1]
    ends = [i for i in end_tokens(lin.lm) if i < len(last)]
    return rows[:-1], float(last[ends].sum()) if ends else float("nan")
