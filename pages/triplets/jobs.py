"""What page Spectra asks of the worker beside the analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pages.worker.analysis import KEPT_TRIPLETS
from pages.worker.engine import Engine
from pages.worker.question import question
from pages.worker.request import Request
from pages.worker.worker import Reporter

if TYPE_CHECKING:
    from eqlin_core.runs.ranks import JointRun, RankRun


@question("the prediction at every rank")
def ranks(engine: Engine, progress: Reporter, request: Request, joint: bool, every: bool) -> RankRun:
    """The prediction with each token's matrix cut, or all of them together; up to the kept rank, or to every one."""
    from eqlin_core.analysis.ranks import rank_run  # noqa: PLC0415 - torch stays off the script thread

    return rank_run(engine.linear_map(request, progress), KEPT_TRIPLETS, joint=joint, every=every, progress=progress)


@question("the joint spectrum")
def joint(engine: Engine, progress: Reporter, request: Request) -> JointRun:
    """The singular triplets of all tokens' matrices side by side."""
    from eqlin_core.analysis.ranks import joint_run  # noqa: PLC0415

    return joint_run(engine.linear_map(request, progress), KEPT_TRIPLETS, progress)
