"""The jobs that the worker runs for the pages. Only this file calls the engine, and only on the worker's thread."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.worker.presence import connected
from pages.worker.request import Request
from pages.worker.saved_analyses import SavedAnalyses
from pages.worker.worker import Job, Reporter, Worker

if TYPE_CHECKING:
    from eqlin_core import LanguageModel, LinearMap, PrecisionCheck
    from eqlin_core.runs.prompt import SpectrumRun, Target, TokenRun

KEPT_TRIPLETS = 24
# From so many tokens on, the split of 20 logits is there much sooner than the contributions as vectors.
PREVIEWED_FROM = 64
# Seconds that the browser gets to draw a saved analysis before the model's loading takes the processor.
HEAD_START = 2.0


class Engine:
    """One worker, at most one model, and the linear map that was made last: all owned by the worker's thread."""

    def __init__(self) -> None:
        self.worker = Worker(connected=connected)
        self._saved = SavedAnalyses()
        self._model: tuple[tuple[str, str], LanguageModel] | None = None
        self._map: tuple[Request, LinearMap] | None = None
        self._plan = ""

    def tokens(self, request: Request, visitor: str, fresh: bool = False) -> Job:
        """The job that ends in a TokenRun: contributions and exactness; a saved one, unless it is to be a fresh one."""
        return self.worker.submit(
            ("tokens", request, fresh),
            lambda progress: self._tokens(request, progress, fresh),
            label="the token contributions",
            visitor=visitor,
            interactive=True,
        )

    def spectra(self, request: Request, visitor: str, fresh: bool = False) -> Job:
        """The job that ends in a SpectrumRun: the matrix and its singular triplets; a few tokens' may come early."""
        return self.worker.submit(
            ("spectra", request, fresh),
            lambda progress: self._spectra(request, progress, fresh),
            label="the matrix and its spectra",
            visitor=visitor,
        )

    def ready(self, request: Request, visitor: str) -> Job:
        """The job after which the model is loaded and recorded: a saved analysis is shown without either."""
        return self.worker.submit(
            ("ready", request),
            lambda progress: self._make_ready(request, progress),
            label="the model",
            visitor=visitor,
        )

    def target(self, request: Request, text: str, visitor: str) -> Job:
        """The job that finds a typed next token and ends in a Target."""
        return self.worker.submit(
            ("target", request, text),
            lambda progress: self._target(request, text, progress),
            label="the typed token",
            visitor=visitor,
            interactive=True,
        )

    def precision(self, request: Request, visitor: str) -> Job:
        """The job that ends in a PrecisionCheck: the contributions once more in float64."""
        return self.worker.submit(
            ("precision", request),
            lambda progress: self._precision(request, progress),
            label="the check in float64",
            visitor=visitor,
            interactive=True,
        )

    def _tokens(self, request: Request, progress: Reporter, fresh: bool) -> TokenRun:
        if not fresh and (saved := self._saved.tokens(request)) is not None:
            return saved
        from eqlin_core.analysis.prompt import token_preview, token_run  # noqa: PLC0415 - torch stays off the script thread

        lin = self._linear_map(request, progress)
        if lin.n_tokens > PREVIEWED_FROM:
            progress(None, "The likely next tokens")
            progress.publish("preview", token_preview(lin, request.prompt))
        run = token_run(lin, request.prompt, progress)
        self._saved.keep("tokens", request, run)
        return run

    def _spectra(self, request: Request, progress: Reporter, fresh: bool) -> SpectrumRun:
        if not fresh and (saved := self._saved.spectra(request)) is not None:
            return saved
        from eqlin_core.analysis.early import early_spectra, early_tokens  # noqa: PLC0415
        from eqlin_core.analysis.prompt import spectrum_run  # noqa: PLC0415

        lin = self._linear_map(request, progress)
        for early in early_spectra(lin, early_tokens(lin, progress=progress), progress=progress):
            progress.publish("early", early)
        run = spectrum_run(lin, KEPT_TRIPLETS, progress)
        self._saved.keep("spectra", request, run)
        return run

    def _make_ready(self, request: Request, progress: Reporter) -> None:
        until = time.monotonic() + HEAD_START
        while time.monotonic() < until and len(self.worker.queue()) == 1:
            progress(None, "Loading the model")
            time.sleep(0.05)
        self._linear_map(request, progress)

    def _target(self, request: Request, text: str, progress: Reporter) -> Target:
        from eqlin_core.analysis.prompt import typed_target  # noqa: PLC0415

        return typed_target(self._linear_map(request, progress), text)

    def _precision(self, request: Request, progress: Reporter) -> PrecisionCheck:
        from eqlin_core.maps.precision import precision_check  # noqa: PLC0415

        return precision_check(self._linear_map(request, progress), progress)

    def _linear_map(self, request: Request, progress: Reporter) -> Any:
        from eqlin_core import linearize, plan_run  # noqa: PLC0415
        from eqlin_core.models.prompts import prompt_ids  # noqa: PLC0415

        if self._map is None or self._map[0] != request:
            model = self._load(request, progress)
            ids = prompt_ids(model, request.prompt, None)
            self._map = None
            self._plan = plan_run(model, len(ids)).sentence()  # what cannot fit is refused here, before it starts
            progress.publish("plan", self._plan)
            progress(None, "Recording the frozen network")
            lin = linearize(model, token_ids=ids, gated_path=request.gated_path)
            self._map = (request, lin)
        progress.publish("plan", self._plan)
        return self._map[1]

    def _load(self, request: Request, progress: Reporter) -> LanguageModel:
        wanted = (request.model, request.dtype)
        if self._model is None or self._model[0] != wanted:
            progress(None, f"Loading {request.model}")
            from eqlin_core import load_model  # noqa: PLC0415

            # Two models never share the memory, and a name that leads nowhere costs nobody the model that is loaded.
            model = load_model(request.model, dtype=request.dtype, progress=progress, found=self._release)
            self._model = (wanted, model)
        return self._model[1]

    def _release(self) -> None:
        self._model = self._map = None


@st.cache_resource(show_spinner=False)
def engine() -> Engine:
    """The one engine of this server process, shared by all visitors."""
    return Engine()
