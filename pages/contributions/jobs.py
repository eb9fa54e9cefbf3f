"""What page Tokens asks of the worker beside the split itself: what the model does without a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eqlin_core.runs.convention import Convention
from eqlin_core.runs.split import Split, TargetKind
from pages.worker.engine import Engine
from pages.worker.question import question
from pages.worker.request import Request
from pages.worker.worker import Reporter

if TYPE_CHECKING:
    from eqlin_core.runs.deletion import ConventionsRun, CurvesRun, HiddenRun, LeaveOneOutRun

# The exact maps that have names, the published one first: what a split is compared with.
NAMED = (Convention(), Convention("gate"), Convention("half"), Convention("half", "half"))


@question("leave-one-out", interactive=True)
def leave_one_out(
    engine: Engine, progress: Reporter, request: Request, targets: tuple[int, ...], deletion: str | int
) -> LeaveOneOutRun:
    """How much the targets fall when each token alone is deleted from the untouched model's prompt."""
    from eqlin_core.analysis.faithfulness import leave_one_out_run  # noqa: PLC0415 - torch stays off the script thread

    return leave_one_out_run(engine.linear_map(request, progress), targets, deletion, progress)


@question("the other exact maps", interactive=True)
def conventions(
    engine: Engine, progress: Reporter, request: Request, split: Split, target: int, versus: int | None
) -> ConventionsRun:
    """The same target by every exact map that has a name, and by the one that is shown."""
    from eqlin_core.analysis.faithfulness import conventions_run  # noqa: PLC0415

    lin = engine.linear_map(request.by(split.convention), progress)
    shown = list(dict.fromkeys([*NAMED, split.convention]))
    return conventions_run(lin, shown, split, target, versus, progress)


@question("what freezing hides")
def hidden(
    engine: Engine, progress: Reporter, request: Request, kind: TargetKind, target: int, versus: int | None
) -> HiddenRun:
    """Every token's deletion, by the exact map and by what freezing holds fixed."""
    from eqlin_core.analysis.faithfulness import hidden_run  # noqa: PLC0415

    return hidden_run(engine.linear_map(request, progress), kind, target, versus, progress)


@question("the deletion curves")
def curves(
    engine: Engine, progress: Reporter, request: Request, split: Split, target: int, deletion: str | int
) -> CurvesRun:
    """What is left of the target as more and more tokens are deleted, or kept."""
    from eqlin_core.analysis.faithfulness import curves_run  # noqa: PLC0415

    return curves_run(engine.linear_map(request.by(split.convention), progress), split, target, deletion, progress)
