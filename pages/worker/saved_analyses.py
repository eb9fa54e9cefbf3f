"""Analyses of the default model on the disk, so that the app opens on one without loading a model.

Those of the example prompts are shipped with the app, computed by itself; others are kept from one start to the next.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

from eqlin_core.models.bundled import REVISION
from eqlin_core.runs.files import RunStore
from eqlin_core.runs.kinds import Answer
from eqlin_core.runs.prompt import SpectrumRun, TokenRun
from eqlin_core.version import __version__
from pages.worker.question import Question
from pages.worker.request import DEFAULT_MODEL, Request
from pages.worker.shipped import shipped, shipped_tokens

SWITCH = "EQLIN_SAVED_RUNS"


class SavedAnalyses:
    """Runs by request. Only of the default model: which weights it has is known before they are read.

    The environment variable EQLIN_SAVED_RUNS names their folder (else it is in eqlin's cache); "0" switches them off:
    then nothing is written, and nothing read, what is shipped neither.
    """

    def __init__(self) -> None:
        self._place = os.environ.get(SWITCH, "")
        self._store = RunStore(Path(self._place) if self._place else None)

    def tokens(self, request: Request, baseline: str | int = "zero") -> TokenRun | None:
        """The contributions of this request as they were computed before, marked as saved; None without any."""
        if not self._covers(request):
            return None
        run = self._store.get(self._key("tokens", request, baseline))
        if isinstance(run, TokenRun):
            return replace(run, saved=True)
        run = shipped_tokens(request, baseline)
        return None if run is None else replace(run, saved=True, shipped=__version__)

    def spectra(self, request: Request) -> SpectrumRun | None:
        """The spectra of this request as they were computed here before; None without any."""
        if not self._covers(request):
            return None
        run = self._store.get(self._key("spectra", request))
        return run if isinstance(run, SpectrumRun) else None

    def keep(self, name: str, request: Request, run: TokenRun | SpectrumRun) -> None:
        """Write a fresh run down for the next start."""
        if self._covers(request):
            baseline = run.baseline if isinstance(run, TokenRun) else "zero"
            self._store.put(self._key(name, request, baseline), run)

    def shipped(self, question: Question[Any]) -> Answer | None:
        """The answer that is shipped; None where none is, or what it is about was analysed here and is shown so."""
        about = question.about
        if not isinstance(about, Request) or not self._covers(about) or self._store.has(self._key("tokens", about)):
            return None
        return shipped(question.key)

    def _covers(self, request: Request) -> bool:
        return request.model == DEFAULT_MODEL and self._place != "0"

    @staticmethod
    def _key(name: str, request: Request, baseline: str | int = "zero") -> tuple[Hashable, ...]:
        return (name, REVISION, request, baseline)
