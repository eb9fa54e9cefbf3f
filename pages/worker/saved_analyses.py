"""Analyses of the default model on the disk, so that the next start of the app opens on one without loading a model."""

from __future__ import annotations

import os
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

from eqlin_core.models.bundled import REVISION
from eqlin_core.runs.files import RunStore
from eqlin_core.runs.prompt import SpectrumRun, TokenRun
from pages.worker.request import DEFAULT_MODEL, Request

SWITCH = "EQLIN_SAVED_RUNS"


class SavedAnalyses:
    """Runs by request. Only of the default model: which weights it has is known before they are read.

    The environment variable EQLIN_SAVED_RUNS names their folder (else it is in eqlin's cache); "0" switches them off:
    then nothing is written, and nothing read.
    """

    def __init__(self) -> None:
        self._place = os.environ.get(SWITCH, "")
        self._store = RunStore(Path(self._place) if self._place else None)

    def tokens(self, request: Request, baseline: str | int = "zero") -> TokenRun | None:
        """The contributions of this request as an earlier start computed them, marked as saved; None without any."""
        run = self._store.get(self._key("tokens", request, baseline)) if self._covers(request) else None
        return replace(run, saved=True) if isinstance(run, TokenRun) else None

    def spectra(self, request: Request) -> SpectrumRun | None:
        """The spectra of this request as an earlier start computed them; None without any."""
        run = self._store.get(self._key("spectra", request)) if self._covers(request) else None
        return run if isinstance(run, SpectrumRun) else None

    def keep(self, name: str, request: Request, run: TokenRun | SpectrumRun) -> None:
        """Write a fresh run down for the next start."""
        if self._covers(request):
            baseline = run.baseline if isinstance(run, TokenRun) else "zero"
            self._store.put(self._key(name, request, baseline), run)

    def _covers(self, request: Request) -> bool:
        return request.model == DEFAULT_MODEL and self._place != "0"

    @staticmethod
    def _key(name: str, request: Request, baseline: str | int = "zero") -> tuple[Hashable, ...]:
        return (name, REVISION, request, baseline)
