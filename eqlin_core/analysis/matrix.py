"""One token's matrix as plain NumPy arrays: what a screen can show of it, its largest lines, and what it reconstructs.

A matrix is reduced where it is, so that neither a page nor a cache ever holds T d^2 numbers.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.analysis.prompt import READ, run_key
from eqlin_core.dtypes import coefficient_dtype, to_numpy
from eqlin_core.errors import EqlinError
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.maps.partial_freezing import partly_frozen
from eqlin_core.models.readout import read_input, read_output
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress
from eqlin_core.runs.exactness import bounds_of
from eqlin_core.runs.matrix import Line, MatrixRun, MatrixView, Reconstruction
from eqlin_core.runs.values import Row

# About as many cells a side as half a page has pixels to tell apart.
CELLS = 288
LINES = 8
# Colours end at this percentile of the entries' sizes: a few dimensions are far larger than all others.
CLIP_PERCENTILE = 99.9


@passes
def matrix_run(lin: LinearMap, token: int, progress: Progress | None = None) -> MatrixRun:
    """The whole matrix of one token, reduced; computes the matrices first where that has not been done."""
    matrix = _matrix(lin, token, progress)
    matrix = matrix.to(coefficient_dtype(matrix.dtype))
    x = lin.inputs[token].to(matrix)
    column_norms, row_norms = matrix.norm(dim=0), matrix.norm(dim=1)
    sizes = matrix.abs().flatten()
    clipped = float(torch.kthvalue(sizes, max(1, round(len(sizes) * CLIP_PERCENTILE / 100))).values)
    largest = float(sizes.max())
    return MatrixRun(
        key=run_key(lin),
        token=token,
        name=lin.tokens[token],
        whole=matrix_view(lin, token),
        limit=clipped or largest or 1.0,
        largest=largest,
        column_norms=to_numpy(column_norms),
        row_norms=to_numpy(row_norms),
        columns=_lines(column_norms, matrix.T * _sign(x)[:, None], lambda v: read_output(lin.lm, v, READ)),
        rows=_lines(row_norms, matrix * _sign(matrix @ x)[:, None], lambda v: read_input(lin.lm, v, READ)),
    )


@passes
def matrix_view(
    lin: LinearMap,
    token: int,
    rows: tuple[int, int] | None = None,
    columns: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> MatrixView:
    """The part of one token's matrix between the given rows and columns, in as fine blocks as a screen can show.

    Raises EqlinError for a range that the matrix does not have.
    """
    matrix = _matrix(lin, token, progress)
    rows = _range("Rows", rows, matrix.shape[0])
    columns = _range("Columns", columns, matrix.shape[1])
    cells, block = reduce_blocks(matrix[slice(*rows), slice(*columns)], CELLS)
    return MatrixView(token, rows, columns, block, cells.detach().float().cpu().numpy())


def reduce_blocks(matrix: Float[Tensor, "m n"], most: int) -> tuple[Float[Tensor, "a b"], tuple[int, int]]:
    """At most ``most`` cells a side, each the entry of largest size in its block, and the block's (rows, columns)."""
    height, width = (-(-size // most) for size in matrix.shape)
    if (height, width) == (1, 1):
        return matrix, (1, 1)
    pool = torch.nn.functional.max_pool2d
    above, below = (sign * pool(sign * matrix[None].float(), (height, width), ceil_mode=True)[0] for sign in (1, -1))
    return torch.where(above >= -below, above, below), (height, width)


def matrix_bytes(lin: LinearMap, token: int, progress: Progress | None = None) -> bytes:
    """One token's exact matrix [d_out, d_in] as a NumPy file, in its own dtype (bfloat16 widened to float32)."""
    matrix = _matrix(lin, token, progress).cpu()
    file = io.BytesIO()
    np.save(file, (matrix.float() if matrix.dtype == torch.bfloat16 else matrix).numpy())
    return file.getvalue()


def reconstruction(lin: LinearMap, frozen: Collection[str], progress: Progress | None = None) -> Reconstruction:
    """What the Jacobian with only these freezing rules on makes of the output."""
    part = partly_frozen(lin, frozen, progress=progress)
    return Reconstruction(
        frozen=part.frozen,
        dtype=part.dtype,
        output=to_numpy(part.output),
        reconstructed=to_numpy(part.reconstructed),
        error=part.reconstruction,
        bound=bounds_of(part.dtype, lin.products)[0],
        exact=part.exact,
        leaks=part.leaks,
    )


def _matrix(lin: LinearMap, token: int, progress: Progress | None) -> Tensor:
    if not 0 <= token < lin.n_tokens:
        raise EqlinError(f"Token {token} does not exist: the prompt has {lin.n_tokens} tokens.")
    return lin.jacobian(progress)[token].detach().to(lin.inputs.device)


def _range(what: str, asked: tuple[int, int] | None, size: int) -> tuple[int, int]:
    first, last = (0, size) if asked is None else asked
    if not 0 <= first < last <= size:
        raise EqlinError(f"{what} {first} to {last - 1} do not exist: choose from 0 to {size - 1}.")
    return first, last


def _lines(norms: Tensor, vectors: Tensor, read: Callable[[Tensor], list[Row]]) -> list[Line]:
    values, indices = norms.topk(min(LINES, len(norms)))
    rows = read(vectors[indices])
    return [Line(i, n, row) for i, n, row in zip(indices.tolist(), values.tolist(), rows, strict=True)]


def _sign(values: Tensor) -> Tensor:
    return torch.where(values < 0, -1.0, 1.0).to(values)
