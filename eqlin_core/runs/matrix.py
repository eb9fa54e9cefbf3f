"""One token's matrix as a screen can show it, its largest lines, and what it reconstructs."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float

from eqlin_core.runs.prompt import RunKey
from eqlin_core.runs.values import Array, Row


@dataclass(frozen=True)
class MatrixView:
    """Rows and columns ``[first, last)`` of one token's J_i [out, in] in float32, reduced to at most CELLS a side.

    A cell is the entry of largest size, with its sign, among the ``block`` = (rows, columns) that it stands for.
    """

    token: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    block: tuple[int, int]
    cells: Float[Array, "m n"]


@dataclass(frozen=True)
class Line:
    """One row or column of a matrix: its index, its Euclidean norm, and the tokens that it reads as."""

    index: int
    norm: float
    reads: Row


@dataclass(frozen=True)
class MatrixRun:
    """One token's matrix at a glance; ``limit`` is where the colours of all its views end.

    ``columns`` are the largest by norm, largest first, read through the unembedding with the sign of x_j: what input
    dimension j writes here. ``rows`` are read by cosine with the input embeddings, signed so that J_j . x >= 0: what
    output dimension j looks for.
    """

    key: RunKey
    token: int
    name: str
    whole: MatrixView
    limit: float
    largest: float
    column_norms: Float[Array, " d_in"]
    row_norms: Float[Array, " d_out"]
    columns: list[Line]
    rows: list[Line]


@dataclass(frozen=True)
class Reconstruction:
    """The output y [d] beside sum_i J_i x_i + b [d], with only the freezing rules ``frozen`` on, in float64."""

    frozen: tuple[str, ...]
    dtype: str
    output: Float[Array, " d"]
    reconstructed: Float[Array, " d"]
    error: float
    bound: float
    exact: bool
    leaks: list[str]
