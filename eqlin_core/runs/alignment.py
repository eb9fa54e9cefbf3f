"""Two prompts side by side: which token of the one stands for which token of the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from eqlin_core.runs.values import Array

# A pair of places: in the first list and in the second, None where a token has nothing beside it.
Pair = tuple[int | None, int | None]


def aligned(first: Sequence[str], second: Sequence[str]) -> list[Pair]:
    """The fewest edits that make one token list the other, in the order of both.

    A row is a pair of places in the two lists, with the same token or another one at each, or one place and None. Of
    the alignments with the fewest edits (a token put in, taken out or replaced) it is one with the most equal tokens,
    in which what both begin with stands beside itself. Equal lists align one to one; exchanged lists give the same rows
    with their places exchanged.
    """
    if list(second) < list(first):  # one order of the two lists, so that ties are broken alike
        return [(i, j) for j, i in aligned(second, first)]
    start = _shared(first, second)
    rest = [list(tokens[start:]) for tokens in (first, second)]
    end = _shared(rest[0][::-1], rest[1][::-1])
    inner = _edits(*(tokens[: len(tokens) - end] for tokens in rest))
    rows: list[Pair] = [(i, i) for i in range(start)]
    rows += [(None if i is None else start + i, None if j is None else start + j) for i, j in inner]
    return [*rows, *((len(first) - k, len(second) - k) for k in range(end, 0, -1))]


def _shared(first: Sequence[str], second: Sequence[str]) -> int:
    """How many tokens both begin with."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


def _edits(first: list[str], second: list[str]) -> list[Pair]:
    """The rows of two lists, from the end to the start along the cheapest way."""
    costs, edit = _costs(first, second)
    rows: list[Pair] = []
    i, j = len(first), len(second)
    while i or j:
        step = -1 if i and j and first[i - 1] == second[j - 1] else edit
        if i and j and costs[i, j] == costs[i - 1, j - 1] + step:
            i, j = i - 1, j - 1
            rows.append((i, j))
        elif j and costs[i, j] == costs[i, j - 1] + edit:
            j -= 1
            rows.append((None, j))
        else:
            i -= 1
            rows.append((i, None))
    return rows[::-1]


def _costs(first: list[str], second: list[str]) -> tuple[Int[Array, "n m"], int]:
    """The cost of aligning the first i tokens of one with the first j of the other, and that of an edit.

    An equal token earns 1, so much less than an edit costs that it only decides among the fewest edits.
    """
    edit = min(len(first), len(second)) + 1
    numbers = {token: number for number, token in enumerate(dict.fromkeys(first + second))}
    columns = np.array([numbers[token] for token in second], dtype=np.int64)
    along = edit * np.arange(len(second) + 1)
    costs = np.empty((len(first) + 1, len(second) + 1), dtype=np.int64)
    costs[0] = along
    for i, token in enumerate(first, 1):
        row = costs[i - 1] + edit
        beside = costs[i - 1, :-1] + np.where(columns == numbers[token], -1, edit)
        row[1:] = np.minimum(row[1:], beside)
        costs[i] = np.minimum.accumulate(row - along) + along
    return costs, edit
