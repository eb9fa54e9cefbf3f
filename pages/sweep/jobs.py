"""What page Layers asks of the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eqlin_core.progress import part
from pages.worker.engine import Engine
from pages.worker.question import question
from pages.worker.request import Request
from pages.worker.worker import Reporter

if TYPE_CHECKING:
    from eqlin_core.runs.layers import HeadsRun, SweepRun


# What the page opens with: where the maps end, and so many triplets that the path of u can be drawn.
FIRST_KINDS, FIRST_TRIPLETS = ("layer",), 2
KEPT_TRIPLETS = 8
# Of the time of a whole sweep, what its first part takes.
FIRST_PART = 0.2


@question("the {mode} maps of all layers")
def sweep(engine: Engine, progress: Reporter, request: Request, mode: str) -> SweepRun:
    """The maps that end at every layer, of one mode. Publishes "first" before that: what the page opens with."""
    from eqlin_core.analysis.layers import sweep_run  # noqa: PLC0415 - torch stays off the script thread

    lin = engine.linear_map(request, progress)
    begun = 0.0
    if mode == "cumulative" and request.convention.weight_share == 0:  # by reverse passes it would not be quick
        begun = FIRST_PART
        reports = part(progress, 0.0, begun)
        progress.publish("first", sweep_run(lin, mode, FIRST_TRIPLETS, reports, kinds=FIRST_KINDS))
    return sweep_run(lin, mode, KEPT_TRIPLETS, part(progress, begun, 1.0))


@question("the heads' contributions", interactive=True)
def heads(
    engine: Engine, progress: Reporter, request: Request, ids: tuple[int, ...], baseline: str | int = "zero"
) -> HeadsRun:
    """What every head adds to the logits of these vocabulary tokens."""
    from eqlin_core.analysis.layers import heads_run  # noqa: PLC0415

    return heads_run(engine.linear_map(request, progress), ids, progress, baseline=baseline)
