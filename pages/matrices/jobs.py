"""The jobs that the worker runs for the page Matrix and for the ranks of the page Spectra."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.worker.engine import KEPT_TRIPLETS, Engine, engine
from pages.worker.request import Request
from pages.worker.worker import Job, Reporter

if TYPE_CHECKING:
    from eqlin_core.runs.matrix import MatrixRun, MatrixView, Reconstruction
    from eqlin_core.runs.ranks import JointRun, RankRun

Span = tuple[int, int]


class MatrixJobs:
    """Matrices and ranks on the engine's worker, which keeps the one map that was made last with its matrices."""

    def __init__(self, work: Engine) -> None:
        self._engine = work

    def matrix(self, request: Request, token: int, visitor: str) -> Job:
        """The job that ends in the MatrixRun of a token."""
        return self._engine.worker.submit(
            ("matrix", request, token),
            lambda progress: self._matrix(request, token, progress),
            label="the token's matrix",
            visitor=visitor,
        )

    def view(self, request: Request, token: int, rows: Span, columns: Span, visitor: str) -> Job:
        """The job that ends in the MatrixView of a part of a token's matrix."""
        return self._engine.worker.submit(
            ("matrix view", request, token, rows, columns),
            lambda progress: self._view(request, token, rows, columns, progress),
            label="this part of the matrix",
            visitor=visitor,
        )

    def file(self, request: Request, token: int, visitor: str) -> Job:
        """The job that ends in the bytes of a token's matrix as a NumPy file."""
        return self._engine.worker.submit(
            ("matrix file", request, token),
            lambda progress: self._file(request, token, progress),
            label="the matrix as a file",
            visitor=visitor,
        )

    def reconstruction(self, request: Request, frozen: tuple[str, ...], visitor: str) -> Job:
        """The job that ends in the Reconstruction with only these freezing rules on."""
        return self._engine.worker.submit(
            ("reconstruction", request, frozen),
            lambda progress: self._reconstruction(request, frozen, progress),
            label="the reconstruction",
            visitor=visitor,
            interactive=True,
        )

    def ranks(self, request: Request, joint: bool, every: bool, visitor: str) -> Job:
        """The job that ends in the RankRun of each token's matrix or of all together, to the kept or to every rank."""
        return self._engine.worker.submit(
            ("ranks", request, joint, every),
            lambda progress: self._ranks(request, joint, every, progress),
            label="the prediction at every rank",
            visitor=visitor,
        )

    def joint(self, request: Request, visitor: str) -> Job:
        """The job that ends in the JointRun."""
        return self._engine.worker.submit(
            ("joint", request),
            lambda progress: self._joint(request, progress),
            label="the joint spectrum",
            visitor=visitor,
        )

    def _matrix(self, request: Request, token: int, progress: Reporter) -> MatrixRun:
        from eqlin_core.analysis.matrix import matrix_run  # noqa: PLC0415 - torch stays off the script thread

        return matrix_run(self._engine._linear_map(request, progress), token, progress)

    def _view(self, request: Request, token: int, rows: Span, columns: Span, progress: Reporter) -> MatrixView:
        from eqlin_core.analysis.matrix import matrix_view  # noqa: PLC0415

        return matrix_view(self._engine._linear_map(request, progress), token, rows, columns, progress)

    def _file(self, request: Request, token: int, progress: Reporter) -> bytes:
        from eqlin_core.analysis.matrix import matrix_bytes  # noqa: PLC0415

        return matrix_bytes(self._engine._linear_map(request, progress), token, progress)

    def _reconstruction(self, request: Request, frozen: tuple[str, ...], progress: Reporter) -> Reconstruction:
        from eqlin_core.analysis.matrix import reconstruction  # noqa: PLC0415

        return reconstruction(self._engine._linear_map(request, progress), frozen, progress)

    def _ranks(self, request: Request, joint: bool, every: bool, progress: Reporter) -> RankRun:
        from eqlin_core.analysis.ranks import rank_run  # noqa: PLC0415

        lin = self._engine._linear_map(request, progress)
        return rank_run(lin, KEPT_TRIPLETS, joint=joint, every=every, progress=progress)

    def _joint(self, request: Request, progress: Reporter) -> JointRun:
        from eqlin_core.analysis.ranks import joint_run  # noqa: PLC0415

        return joint_run(self._engine._linear_map(request, progress), KEPT_TRIPLETS, progress)


@st.cache_resource(show_spinner=False)
def matrix_jobs() -> MatrixJobs:
    """The one set of matrix jobs of this server process, on the worker that all pages share."""
    return MatrixJobs(engine())
