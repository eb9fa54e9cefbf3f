"""What page Layers asks of the worker."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pages.worker.engine import Engine
from pages.worker.question import question
from pages.worker.request import Request
from pages.worker.worker import Reporter

if TYPE_CHECKING:
    from eqlin_core.runs.layers import HeadsRun, SweepRun


KEPT_TRIPLETS = 8


@question("the {mode} maps of all layers")
def sweep(engine: Engine, progress: Reporter, request: Request, mode: str) -> SweepRun:
    """The maps that end at every layer, of one mode. Publishes "first" meanwhile: what the page opens with."""
    from eqlin_core.analysis.layers import sweep_run  # noqa: PLC0415 - torch stays off the script thread

    lin = engine.linear_map(request, progress)
    quick = mode == "cumulative" and request.convention.weight_share == 0  # by reverse passes it would not be
    early = partial(progress.publish, "first") if quick else None
    return sweep_run(lin, mode, KEPT_TRIPLETS, progress, early=early)


@question("the first maps of all layers")
def first(engine: Engine, progress: Reporter, request: Request) -> SweepRun:
    """What the cumulative sweep publishes once all layers are in it. The page takes it only where it is shipped."""
    from eqlin_core.analysis.layers import sweep_run  # noqa: PLC0415

    published: list[SweepRun] = []
    sweep_run(engine.linear_map(request, progress), "cumulative", KEPT_TRIPLETS, progress, early=published.append)
    return published[-1]


@question("the heads' contributions", interactive=True)
def heads(
    engine: Engine, progress: Reporter, request: Request, ids: tuple[int, ...], baseline: str | int = "zero"
) -> HeadsRun:
    """What every head adds to the logits of these vocabulary tokens."""
    from eqlin_core.analysis.layers import heads_run  # noqa: PLC0415

    return heads_run(engine.linear_map(request, progress), ids, progress, baseline=baseline)
