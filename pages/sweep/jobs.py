"""What page Layers asks of the worker."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqlin_core.errors import EqlinError
from pages.worker.engine import Engine
from pages.worker.question import question
from pages.worker.request import Request
from pages.worker.worker import Reporter

if TYPE_CHECKING:
    from eqlin_core.runs.layers import HeadsRun, SweepRun
    from eqlin_core.runs.lenses import LensRun

KEPT_TRIPLETS = 8
# What the page's lenses are fitted on: the list, and the estimator, of which short phrases have positions left.
LENS_PROMPTS = "marin-100"
LENS_POSITIONS: dict[str, Any] = {"positions": "future", "skip": 1}


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


@question("the {kind} lens")
def lens(
    engine: Engine, progress: Reporter, request: Request, kind: str, file: Path, prompts: int, _turn: int = 0
) -> int:
    """Fit the lens of so many prompts of the list, or go on with it; ``file`` keeps it. How many it is of then.

    ``_turn``: how often it was begun in this tab.
    """
    from eqlin_core.lenses.kept import fit_kept  # noqa: PLC0415
    from eqlin_core.studies.prompts import study_prompts  # noqa: PLC0415

    texts = [prompt.text for prompt in study_prompts(LENS_PROMPTS)[:prompts]]
    fitted = fit_kept(engine.load(request, progress), texts, kind, file, **LENS_POSITIONS, progress=progress)
    return fitted.prompts


@question("the read-outs through lenses", interactive=True)
def lens_reads(
    engine: Engine, progress: Reporter, request: Request, token: int, files: tuple[tuple[Path, int], ...]
) -> LensRun:
    """What the stream reads as at every layer: as it is, by the prompt's own map, and by the lenses in these files.

    Beside each file stands when it was written, since a lens that grew reads otherwise. One that is gone, damaged or of
    another model is left out.
    """
    from eqlin_core.analysis.lenses import lens_run  # noqa: PLC0415
    from eqlin_core.lenses.files import load_lens  # noqa: PLC0415

    lin = engine.linear_map(request, progress)
    lenses = []
    for file, _ in files:
        with suppress(EqlinError):
            lenses.append(load_lens(file, lin.lm))
    return lens_run(lin, token, lenses, progress)
