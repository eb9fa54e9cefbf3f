"""The jobs that the worker runs for the page Steering, and the operators it keeps between them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.progress import part
from pages.worker.engine import Engine, engine
from pages.worker.request import Request
from pages.worker.worker import Job, Reporter

if TYPE_CHECKING:
    from eqlin_core import LanguageModel
    from eqlin_core.runs.steering import OperatorFile, SteeringGrid, SteeringPlan, Text
    from eqlin_core.runs.values import Row
    from eqlin_core.steering.operators import SteeringOperator

KEPT_OPERATORS = 6
# The share of a grid's time that goes into its operators, of which there are one or two.
OPERATOR_PART = 0.35


@dataclass(frozen=True)
class Guide:
    """Where a concept lives: for each depth the read-out, and the log-probability of what the concept leads to."""

    concept: str
    reads: list[Row]
    log_probability: list[float]
    said: str


class SteeringJobs:
    """Steering on the engine's worker. All methods with a progress run on the worker's thread only."""

    def __init__(self, work: Engine) -> None:
        self._engine = work
        self._operators: OrderedDict[tuple[object, ...], SteeringOperator] = OrderedDict()
        self._model: LanguageModel | None = None

    def grid(self, source: Request, plan: SteeringPlan, visitor: str) -> Job:
        """The job that ends in a SteeringGrid; it publishes "texts" token by token and each stage as "grid"."""
        return self._engine.worker.submit(
            ("steering", source, plan),
            lambda progress: self._grid(source, plan, progress),
            label="the steered texts",
            visitor=visitor,
        )

    def guide(self, source: Request, concept: str, visitor: str) -> Job:
        """The job that ends in the Guide of a concept: one pass."""
        return self._engine.worker.submit(
            ("steering guide", source, concept),
            lambda progress: self._guide(source, concept, progress),
            label="the concept's read-out",
            visitor=visitor,
            interactive=True,
        )

    def text(self, source: Request, plan: SteeringPlan, strength: tuple[float, ...], visitor: str) -> Job:
        """The job that ends in the Text at one strength; it publishes "text" after every token."""
        return self._engine.worker.submit(
            ("steering text", source, plan, strength),
            lambda progress: self._text(source, plan, strength, progress),
            label="the text at this strength",
            visitor=visitor,
            interactive=True,
        )

    def file(self, source: Request, plan: SteeringPlan, visitor: str) -> Job:
        """The job that ends in the bytes of the first operator's file."""
        made_of = (plan.concept, plan.layers, plan.final_norm, plan.block, plan.gated_path, plan.file)
        return self._engine.worker.submit(
            ("steering file", source, *made_of),
            lambda progress: self._acting(source, plan, progress)[0].to_bytes(),
            label="the operator's file",
            visitor=visitor,
            interactive=True,
        )

    def _grid(self, source: Request, plan: SteeringPlan, progress: Reporter) -> SteeringGrid:
        from eqlin_core.analysis.steering import check_plan, steering_grid  # noqa: PLC0415 - torch stays off the script

        lm = self._load(source, progress)
        check_plan(lm, plan)
        operators = self._acting(source, plan, progress)
        return steering_grid(
            lm,
            plan,
            operators,
            progress=part(progress, OPERATOR_PART, 1.0),
            publish=lambda grid: progress.publish("grid", grid),
            on_texts=lambda texts: progress.publish("texts", texts),
        )

    def _guide(self, source: Request, concept: str, progress: Reporter) -> Guide:
        from eqlin_core.analysis.steering import depth_guide  # noqa: PLC0415

        return Guide(concept, *depth_guide(self._load(source, progress), concept))

    def _text(self, source: Request, plan: SteeringPlan, strength: tuple[float, ...], progress: Reporter) -> Text:
        from eqlin_core.analysis.steering import steered_text  # noqa: PLC0415

        lm = self._load(source, progress)
        return steered_text(
            lm,
            plan,
            self._acting(source, plan, progress),
            strength,
            progress=progress,
            on_text=lambda text: progress.publish("text", text),
        )

    def _acting(self, source: Request, plan: SteeringPlan, progress: Reporter) -> list[SteeringOperator]:
        """The one or two operators of a plan, made or read unless they are kept from before."""
        lm = self._load(source, progress)
        first_one = plan.concept if plan.file is None else plan.file
        concepts = [first_one, *([plan.second] if plan.second.strip() else [])]
        made = []
        for i, concept in enumerate(concepts):
            first, width = OPERATOR_PART * i / len(concepts), OPERATOR_PART / len(concepts)
            key = (concept, plan.layers, plan.final_norm, plan.block, plan.gated_path)
            if key not in self._operators:
                self._operators[key] = self._make(lm, concept, plan, progress, first, width)
            self._operators.move_to_end(key)
            made.append(self._operators[key])
        while len(self._operators) > KEPT_OPERATORS:
            self._operators.popitem(last=False)
        return made

    def _make(
        self,
        lm: LanguageModel,
        concept: str | OperatorFile,
        plan: SteeringPlan,
        progress: Reporter,
        first: float,
        width: float,
    ) -> SteeringOperator:
        from eqlin_core.steering.operators import operator_from_bytes, steering_operator  # noqa: PLC0415

        if not isinstance(concept, str):
            read = operator_from_bytes(concept.data, concept.name, lm)
            return read if plan.block is None else replace(read, block=plan.block)
        return steering_operator(
            lm,
            concept,
            plan.layers,
            final_norm=plan.final_norm,
            block=plan.block,
            gated_path=plan.gated_path,
            progress=part(progress, first, first + width, "The concept's linear map"),
        )

    def _load(self, source: Request, progress: Reporter) -> LanguageModel:
        lm = self._engine._load(source, progress)
        if lm is not self._model:
            self._operators.clear()
            self._model = lm
        return lm


@st.cache_resource(show_spinner=False)
def steering_jobs() -> SteeringJobs:
    """The one set of steering jobs of this server process, on the worker that all pages share."""
    return SteeringJobs(engine())
