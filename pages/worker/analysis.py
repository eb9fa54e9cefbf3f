"""What every page rests on, asked of the worker: the analysis of a prompt, its model, a typed token, a check."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pages.worker.engine import Engine
from pages.worker.question import question
from pages.worker.request import Request
from pages.worker.texts import following, read, written
from pages.worker.worker import Reporter

if TYPE_CHECKING:
    from eqlin_core import PrecisionCheck
    from eqlin_core.runs.prompt import SpectrumRun, Target, TokenRun
    from eqlin_core.runs.text import RunText

KEPT_TRIPLETS = 24
# From so many tokens on, the split of 20 logits is there much sooner than the contributions as vectors.
PREVIEWED_FROM = 64
# Seconds that the browser gets to draw a saved analysis before the model's loading takes the processor.
HEAD_START = 2.0


@question("the token contributions", interactive=True)
def tokens(
    engine: Engine, progress: Reporter, request: Request, fresh: bool = False, baseline: str | int = "zero"
) -> TokenRun:
    """Contributions and exactness; a saved run, unless it is to be fresh. Publishes "preview" of a long prompt."""
    if not fresh and (saved := engine.saved.tokens(request, baseline)) is not None:
        return saved
    from eqlin_core.analysis.prompt import seen_ids, token_preview, token_run  # noqa: PLC0415 - torch stays off the script thread

    lin = engine.position_of_answer(request, progress) or engine.linear_map(request, progress)
    also, said = following(lin.lm, request), written(lin.lm, request, seen_ids(lin))
    if lin.position >= PREVIEWED_FROM and not lin.has_contributions:
        progress(None, "The likely next tokens")
        progress.publish("preview", token_preview(lin, said, progress, baseline=baseline, also=also))
    run = token_run(lin, said, progress, baseline=baseline, also=also)
    engine.saved.keep("tokens", request, run)
    engine.models.begin_check(request)
    return run


@question("the model, fetched again", interactive=True)
def fetched_again(engine: Engine, progress: Reporter, request: Request) -> None:
    """Nothing, once the damaged weights are thrown away and the model is loaded from new ones."""
    engine.models.throw_away(request)
    engine.load(request, progress)


@question("the matrix and its spectra")
def spectra(engine: Engine, progress: Reporter, request: Request, fresh: bool = False) -> SpectrumRun:
    """The matrix and its singular triplets, or a saved run of them. Publishes "early", a few tokens' triplets."""
    if not fresh and (saved := engine.saved.spectra(request)) is not None:
        return saved
    from eqlin_core.analysis.early import early_spectra, early_tokens  # noqa: PLC0415
    from eqlin_core.analysis.prompt import spectrum_run  # noqa: PLC0415

    lin = engine.linear_map(request, progress)
    for early in early_spectra(lin, early_tokens(lin, progress=progress), progress=progress):
        progress.publish("early", early)
    run = spectrum_run(lin, KEPT_TRIPLETS, progress)
    engine.saved.keep("spectra", request, run)
    return run


@question("the model")
def ready(engine: Engine, progress: Reporter, request: Request) -> None:
    """Nothing, once the model is loaded and recorded: a saved analysis is shown without either."""
    until = time.monotonic() + HEAD_START
    while time.monotonic() < until and len(engine.worker.queue()) == 1:
        progress(None, "Loading the model")
        time.sleep(0.05)
    engine.linear_map(request, progress)


@question("the checksums of the weights", interactive=True)
def checksums(engine: Engine, progress: Reporter, request: Request) -> dict[str, str]:
    """The SHA-256 of the files that the model was read from."""
    from eqlin_core.models.weights import weights_of  # noqa: PLC0415

    return weights_of(engine.load(request, progress), progress)


@question("the text", interactive=True)
def text(engine: Engine, progress: Reporter, request: Request) -> RunText:
    """Prompt and answer as tokens, and whose words they are."""
    return read(engine.load(request, progress), request)


@question("the typed token", interactive=True)
def target(engine: Engine, progress: Reporter, request: Request, text: str) -> Target:
    """The typed next token."""
    from eqlin_core.analysis.prompt import typed_target  # noqa: PLC0415

    return typed_target(engine.linear_map(request, progress), text)


@question("the token that follows", interactive=True)
def target_of(engine: Engine, progress: Reporter, request: Request, token: int) -> Target:
    """The next token of this id: what is read as text may be another one."""
    from eqlin_core.analysis.prompt import describe_targets, next_logits, seen_ids  # noqa: PLC0415

    lin = engine.position_of_answer(request, progress) or engine.linear_map(request, progress)
    return describe_targets(lin.lm, lin, [token], next_logits(lin.lm, seen_ids(lin)))[0]


@question("the check in float64", interactive=True)
def precision(engine: Engine, progress: Reporter, request: Request) -> PrecisionCheck:
    """The contributions once more in float64, compared."""
    from eqlin_core.maps.precision import precision_check  # noqa: PLC0415

    return precision_check(engine.linear_map(request, progress), progress)
