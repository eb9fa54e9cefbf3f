"""Analyses of the default model on the disk, so that the app opens on one without loading a model.

Those of the example prompts are shipped with the app, computed by itself; others are kept from one start to the next.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

from eqlin_core.errors import EqlinError
from eqlin_core.models.bundled import REVISION
from eqlin_core.runs.files import RunStore, load_run
from eqlin_core.runs.prompt import SpectrumRun, TokenRun
from eqlin_core.version import __version__
from pages.worker.request import DEFAULT_MODEL, Request

SWITCH = "EQLIN_SAVED_RUNS"
SHIPPED = Path(__file__).with_name("examples")


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
        run = shipped("tokens", request, baseline)
        return replace(run, saved=True, shipped=__version__) if isinstance(run, TokenRun) else None

    def spectra(self, request: Request) -> SpectrumRun | None:
        """The spectra of this request as they were computed before; None without any."""
        if not self._covers(request):
            return None
        run = self._store.get(self._key("spectra", request)) or shipped("spectra", request)
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


def shipped(name: str, request: Request, baseline: str | int = "zero") -> TokenRun | SpectrumRun | None:
    """What is shipped of this request, by a test the same as what is computed; None where nothing is."""
    place = shipped_file(name, request, baseline)
    try:
        return load_run(place) if place.is_file() else None
    except EqlinError:  # damaged on the disk: it is computed
        return None


def shipped_file(name: str, request: Request, baseline: str | int = "zero") -> Path:
    """Where the answer to this question is shipped, if it is."""
    key = repr((name, REVISION, request.prompt, request.dtype, request.convention, request.begin, baseline))
    return SHIPPED / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
