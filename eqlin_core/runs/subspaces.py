"""Angles between the subspaces that two sets of vectors span."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from eqlin_core import arguments
from eqlin_core.errors import InvalidValue
from eqlin_core.runs.values import Array


def principal_angles(first: Any, second: Any) -> Float[Array, " k"]:
    """The principal angles between the spans of columns [d, m] and [d, n]: min(m, n) of them, in degrees, rising.

    0 where the spans share a direction, 90 where a direction of one is orthogonal to all of the other; how the columns
    are scaled, turned or mixed among themselves changes nothing. Small angles are as exact as large ones (Björck and
    Golub 1973). Raises EqlinError for columns of different lengths, and for dependent ones, which span less than they
    are.
    """
    one = arguments.columns("first", first)
    other = arguments.columns("second", second, len(one))
    for name, vectors in (("first", one), ("second", other)):
        if np.linalg.matrix_rank(vectors) < vectors.shape[1]:
            raise InvalidValue(f"The {vectors.shape[1]} columns of {name} are linearly dependent: leave some out.")
    return angles_between(one, other)


def angles_between(first: Float[Array, "*batch d m"], second: Float[Array, "*batch d n"]) -> Float[Array, "*batch k"]:
    """The same of each pair in a batch, for independent columns of finite numbers."""
    if first.shape[-1] < second.shape[-1]:
        first, second = second, first
    wide, narrow = np.linalg.qr(first)[0], np.linalg.qr(second)[0]
    shared = wide.swapaxes(-1, -2) @ narrow  # [..., m, n]
    cosines = np.linalg.svd(shared, compute_uv=False)
    sines = np.linalg.svd(narrow - wide @ shared, compute_uv=False)
    return np.asarray(np.degrees(np.arctan2(sines[..., ::-1], cosines)))
