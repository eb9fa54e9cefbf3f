"""What page Compare asks of the worker beside the runs that it compares: what swapped tokens change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eqlin_core.runs.split import TargetKind
from pages.worker.engine import Engine
from pages.worker.question import question
from pages.worker.request import Request
from pages.worker.worker import Reporter

if TYPE_CHECKING:
    from eqlin_core.runs.validity import CounterfactualRun


@question("what the swapped tokens change", interactive=True)
def counterfactual(
    engine: Engine, progress: Reporter, request: Request, other: tuple[int, ...], target: int, kind: TargetKind
) -> CounterfactualRun:
    """What another prompt of as many tokens changes in the target: by the frozen map, and by what freezing hides."""
    from eqlin_core.analysis.validity import counterfactual_run  # noqa: PLC0415 - torch stays off the script thread

    return counterfactual_run(engine.linear_map(request, progress), other, target, kind, progress)
