"""What page Answer asks of the worker: an answer, its split over the text, and what the model does without groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eqlin_core.runs.split import Split
from pages.worker.engine import Engine
from pages.worker.question import question
from pages.worker.request import Request
from pages.worker.texts import read
from pages.worker.worker import Reporter

if TYPE_CHECKING:
    from eqlin_core import LinearMap
    from eqlin_core.runs.answer import AnswerRun, ContinuedText, GroupDeletionRun


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
    from eqlin_core.analysis.answer import answer_run  # noqa: PLC0415 - torch stays off the script thread

    request = request.by(split.convention)
    text = read(engine.load(request, progress), request)
    lin = _whole(engine, progress, request)
    return answer_run(lin, text, split.target, split.baseline, progress)


@question("the answer without each {by}", interactive=True)
def without_groups(
    engine: Engine, progress: Reporter, request: Request, by: str, together: bool, deletion: str | int
) -> GroupDeletionRun:
    """What every answer token loses without each group of tokens, measured in the untouched model."""
    from eqlin_core.analysis.answer import group_deletion_run  # noqa: PLC0415
    from eqlin_core.runs.groups import groups_of  # noqa: PLC0415

    text = read(engine.load(request, progress), request)
    groups = groups_of(text, by, template_together=together)
    return group_deletion_run(_whole(engine, progress, request), text, groups, deletion, progress)


@question("the answer", interactive=True)
def generated(engine: Engine, progress: Reporter, request: Request, asking: Asking) -> ContinuedText:
    """What the model answers, after what is there of the answer. Publishes "so_far", which a cancelled one leaves."""
    from eqlin_core import continue_text, read_chat  # noqa: PLC0415

    return continue_text(
        engine.load(request, progress),
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
        on_text=lambda so_far: progress.publish("so_far", so_far),
    )


def _whole(engine: Engine, progress: Reporter, request: Request) -> LinearMap:
    """The map of prompt and answer, once the plan says that the split of the answer fits. Raises EqlinError."""
    from eqlin_core import plan_answer  # noqa: PLC0415

    model = engine.load(request, progress)
    text = read(model, request)
    plan = plan_answer(model, len(text.token_ids), len(text.token_ids) - text.first, request.convention)
    lin = engine.linear_map(request, progress)
    progress.publish("plan", plan.sentence())
    return lin
