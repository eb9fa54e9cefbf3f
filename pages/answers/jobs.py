"""What page Answer asks of the worker: an answer, its split over the text, and what the model does without groups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eqlin_core.runs.answer import ContinuedText
from eqlin_core.runs.split import Split
from pages.worker.engine import Engine
from pages.worker.question import question
from pages.worker.request import Request
from pages.worker.texts import read
from pages.worker.worker import Reporter

if TYPE_CHECKING:
    from eqlin_core import LanguageModel
    from eqlin_core.runs.answer import AnswerRun, GroupDeletionRun


@dataclass(frozen=True)
class Asking:
    """How an answer is asked for: at temperature 0 the likeliest tokens, else drawn ones."""

    most: int = 24
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: str = ""


@question("the answer's split", interactive=True)
def answer(engine: Engine, progress: Reporter, request: Request, split: Split) -> AnswerRun:
    """Every token of the answer as a sum. Publishes "plan" before it starts, and refuses what cannot fit."""
    from eqlin_core import plan_answer  # noqa: PLC0415
    from eqlin_core.analysis.answer import answer_run  # noqa: PLC0415 - torch stays off the script thread

    request = request.by(split.convention)
    model = engine.load(request, progress)
    text = read(model, request)
    plan = plan_answer(model, len(text.token_ids), len(text.token_ids) - text.first, request.convention).sentence()
    progress.publish("plan", plan)
    return answer_run(engine.linear_map(request, progress, plan), text, split.target, split.baseline, progress)


@question("the answer without each {by}", interactive=True)
def without_groups(
    engine: Engine, progress: Reporter, request: Request, by: str, together: bool, deletion: str | int
) -> GroupDeletionRun:
    """What every answer token loses without each group of tokens, measured in the untouched model: no map is made."""
    from eqlin_core.analysis.answer import text_deletion_run  # noqa: PLC0415
    from eqlin_core.runs.groups import groups_of  # noqa: PLC0415

    model = engine.load(request, progress)
    text = read(model, request)
    groups = groups_of(text, by, template_together=together)
    return text_deletion_run(model, text, groups, deletion, request.convention, progress)


@question("the answer", interactive=True)
def generated(engine: Engine, progress: Reporter, request: Request, asking: Asking) -> ContinuedText:
    """What the model answers, after what is there of the answer. Publishes "so_far", which a cancelled one leaves."""
    from eqlin_core import continue_text, read_chat  # noqa: PLC0415

    model = engine.load(request, progress)
    return continue_text(
        model,
        None if request.chat else request.prompt,
        chat=read_chat(request.prompt) if request.chat else None,
        answer=request.answer,
        begin=request.begin,
        max_new_tokens=asking.most,
        temperature=asking.temperature,
        top_p=asking.top_p,
        seed=asking.seed,
        stop=asking.stop,
        progress=progress,
        on_text=lambda so_far: progress.publish("so_far", _readable(model, request, so_far)),
    )


def _readable(model: LanguageModel, request: Request, so_far: ContinuedText) -> ContinuedText:
    """As much of an unfinished answer as reads as these tokens again: no half character, and no end of the text."""
    from eqlin_core.steering.generation import end_tokens, text_of  # noqa: PLC0415

    if model.tokenizer is None:
        return so_far
    before, ends = read(model, request).token_ids, end_tokens(model)
    found = [i for i in so_far.token_ids if i not in ends]

    def reads_back(ids: list[int]) -> bool:
        answer = request.answer + text_of(model, before, ids)
        return read(model, replace(request, answer=answer)).token_ids == [*before, *ids]

    while found and not reads_back(found):
        found.pop()
    return ContinuedText(text_of(model, before, found), tuple(found), ended=False)
