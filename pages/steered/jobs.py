"""What page Steering asks of the worker, and the operators that are kept in between."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from eqlin_core.progress import part
from eqlin_core.runs.steering import SteeringPlan
from pages.worker.engine import Engine
from pages.worker.question import Question, question
from pages.worker.request import Request
from pages.worker.worker import Reporter

if TYPE_CHECKING:
    from eqlin_core import LanguageModel
    from eqlin_core.models.prompts import CheckedIds
    from eqlin_core.progress import Progress
    from eqlin_core.runs.steering import Guide, OperatorFile, SteeringGrid, Text
    from eqlin_core.steering.operators import SteeringOperator

KEPT_OPERATORS = 6
# The share of a grid's time that goes into its operators, of which there are one or two.
OPERATOR_PART = 0.35


@question("the steered texts")
def grid(engine: Engine, progress: Reporter, source: Request, plan: SteeringPlan) -> SteeringGrid:
    """All texts of a plan with their metrics. Publishes "texts" token by token, and each stage as "grid"."""
    from eqlin_core.analysis.steering import read_plan, steering_grid  # noqa: PLC0415 - torch stays off the script

    lm = engine.load(source, progress)
    read = read_plan(lm, plan)
    return steering_grid(
        lm,
        read,
        _operators(engine, source, lm, plan, read.concepts, progress),
        progress=part(progress, OPERATOR_PART, 1.0),
        publish=lambda stage: progress.publish("grid", stage),
        on_texts=lambda texts: progress.publish("texts", texts),
    )


@question("the concept's read-out", interactive=True)
def guide(engine: Engine, progress: Reporter, source: Request, concept: str) -> Guide:
    """Where the concept lives: one pass."""
    from eqlin_core.analysis.steering import depth_guide  # noqa: PLC0415

    return depth_guide(engine.load(source, progress), concept)


@question("the text at this strength", interactive=True)
def text(engine: Engine, progress: Reporter, source: Request, plan: SteeringPlan, strength: tuple[float, ...]) -> Text:
    """The text at one strength. Publishes "text" after every token."""
    from eqlin_core.analysis.steering import read_plan, steered_text  # noqa: PLC0415

    lm = engine.load(source, progress)
    read = read_plan(lm, plan)
    return steered_text(
        lm,
        read,
        _operators(engine, source, lm, plan, read.concepts, progress),
        strength,
        progress=progress,
        on_text=lambda written: progress.publish("text", written),
    )


def file(source: Request, plan: SteeringPlan) -> Question[bytes]:
    """The first operator's file; plans that differ in what comes after it share the question."""
    return _file(
        source,
        SteeringPlan(
            plan.concept,
            "",
            plan.layers,
            final_norm=plan.final_norm,
            block=plan.block,
            **plan.convention.keywords,
            file=plan.file,
        ),
    )


@question("the operator's file", interactive=True)
def _file(engine: Engine, progress: Reporter, source: Request, plan: SteeringPlan) -> bytes:
    from eqlin_core.analysis.steering import read_concepts  # noqa: PLC0415

    lm = engine.load(source, progress)
    (operator,) = _operators(engine, source, lm, plan, read_concepts(lm, plan), progress)
    return operator.to_bytes()


def _operators(
    engine: Engine,
    source: Request,
    lm: LanguageModel,
    plan: SteeringPlan,
    read: Mapping[str, CheckedIds],
    progress: Reporter,
) -> list[SteeringOperator]:
    """The one or two operators of a plan, made unless they are kept from before; ``read``: the concepts' tokens."""
    kept: OrderedDict[tuple[object, ...], SteeringOperator] = engine.kept(source, "operators")
    first = plan.concept if plan.file is None else plan.file
    concepts = [first, *([plan.second] if plan.second.strip() else [])]
    acting = []
    for i, concept in enumerate(concepts):
        key = (concept, plan.layers, plan.final_norm, plan.block, plan.convention)
        if key not in kept:
            begin, end = (OPERATOR_PART * j / len(concepts) for j in (i, i + 1))
            reports = part(progress, begin, end, "The concept's linear map")
            if isinstance(concept, str):
                kept[key] = _made(lm, concept, read[concept], plan, reports)
            else:
                kept[key] = _from_file(lm, concept, plan)
        kept.move_to_end(key)
        acting.append(kept[key])
    while len(kept) > KEPT_OPERATORS:
        kept.popitem(last=False)
    return acting


def _made(
    lm: LanguageModel, concept: str, ids: CheckedIds, plan: SteeringPlan, progress: Progress | None
) -> SteeringOperator:
    from eqlin_core.steering.operators import operator_of  # noqa: PLC0415

    return operator_of(
        lm,
        ids,
        concept,
        plan.layers,
        final_norm=plan.final_norm,
        block=plan.block,
        **plan.convention.keywords,
        progress=progress,
    )


def _from_file(lm: LanguageModel, file: OperatorFile, plan: SteeringPlan) -> SteeringOperator:
    from eqlin_core.steering.operators import operator_from_bytes  # noqa: PLC0415

    operator = operator_from_bytes(file.data, file.name, lm)
    return operator if plan.block is None else replace(operator, block=plan.block)
