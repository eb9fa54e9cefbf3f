"""The jobs that the worker runs for the page Layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.worker.engine import Engine, engine
from pages.worker.request import Request
from pages.worker.worker import Job, Reporter

if TYPE_CHECKING:
    from eqlin_core.runs.layers import HeadsRun, SweepRun


class LayerJobs:
    """Sweeps and splits over heads on the engine's worker."""

    def __init__(self, work: Engine) -> None:
        self._engine = work

    def sweep(self, request: Request, mode: str, visitor: str) -> Job:
        """The job that ends in a SweepRun of one mode."""
        return self._engine.worker.submit(
            ("layers", request, mode),
            lambda progress: self._sweep(request, mode, progress),
            label=f"the {mode} maps of all layers",
            visitor=visitor,
        )

    def heads(self, request: Request, ids: tuple[int, ...], visitor: str) -> Job:
        """The job that ends in a HeadsRun for these vocabulary tokens."""
        return self._engine.worker.submit(
            ("heads", request, ids),
            lambda progress: self._heads(request, ids, progress),
            label="the heads' contributions",
            visitor=visitor,
            interactive=True,
        )

    def _sweep(self, request: Request, mode: str, progress: Reporter) -> SweepRun:
        from eqlin_core.analysis.layers import sweep_run  # noqa: PLC0415 - torch stays off the script thread

        return sweep_run(self._engine._linear_map(request, progress), mode, progress=progress)

    def _heads(self, request: Request, ids: tuple[int, ...], progress: Reporter) -> HeadsRun:
        from eqlin_core.analysis.layers import heads_run  # noqa: PLC0415

        return heads_run(self._engine._linear_map(request, progress), ids, progress)


@st.cache_resource(show_spinner=False)
def layer_jobs() -> LayerJobs:
    """The one set of these jobs of this server process, on the worker that all pages share."""
    return LayerJobs(engine())
