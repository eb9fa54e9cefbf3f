"""What page Matrix asks of the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pages.worker.engine import Engine
from pages.worker.question import question
from pages.worker.request import Request
from pages.worker.worker import Reporter

if TYPE_CHECKING:
    from eqlin_core.runs.matrix import MatrixRun, MatrixView, Reconstruction
    from eqlin_core.runs.validity import ValidityRun

Span = tuple[int, int]


@question("the token's matrix")
def matrix(engine: Engine, progress: Reporter, request: Request, token: int) -> MatrixRun:
    """A token's whole matrix, reduced to what is drawn of it, with its largest rows and columns."""
    from eqlin_core.analysis.matrix import matrix_run  # noqa: PLC0415 - torch stays off the script thread

    return matrix_run(engine.linear_map(request, progress), token, progress)


@question("this part of the matrix")
def view(engine: Engine, progress: Reporter, request: Request, token: int, rows: Span, columns: Span) -> MatrixView:
    """A part of a token's matrix."""
    from eqlin_core.analysis.matrix import matrix_view  # noqa: PLC0415

    return matrix_view(engine.linear_map(request, progress), token, rows, columns, progress)


@question("the matrix as a file")
def file(engine: Engine, progress: Reporter, request: Request, token: int) -> bytes:
    """A token's matrix as a NumPy file."""
    from eqlin_core.analysis.matrix import matrix_bytes  # noqa: PLC0415

    return matrix_bytes(engine.linear_map(request, progress), token, progress)


@question("the reconstruction", interactive=True)
def reconstruction(engine: Engine, progress: Reporter, request: Request, frozen: tuple[str, ...]) -> Reconstruction:
    """What the sum of all J_i x_i gives with only these freezing rules on."""
    from eqlin_core.analysis.matrix import reconstruction as reconstructed  # noqa: PLC0415

    return reconstructed(engine.linear_map(request, progress), frozen, progress)


@question("how far the map reaches")
def validity(
    engine: Engine, progress: Reporter, request: Request, token: int, towards: str | None, along: bool
) -> ValidityRun:
    """The frozen map against the model while a token becomes another one; None: what the model likes in its place."""
    from eqlin_core.analysis.validity import validity_run  # noqa: PLC0415

    return validity_run(engine.linear_map(request, progress), token, towards, along=along, progress=progress)
