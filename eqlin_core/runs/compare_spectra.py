"""Spectra of two runs side by side: singular values, angles between leading subspaces, read-outs that come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eqlin_core.reprs import Facts, ShortRepr, counted, span
from eqlin_core.runs.alignment import Pair
from eqlin_core.runs.prompt import SpectrumRun
from eqlin_core.runs.ranks import JointRun
from eqlin_core.runs.subspaces import angles_between
from eqlin_core.runs.values import Array, Row

# Where a token is read first: at which triplet, and at which place of its list; both from 1.
Rank = tuple[int, int]


@dataclass(frozen=True)
class ReadChange:
    """Tokens that the leading vectors read as in A and in B, each with its rank: (triplet, place), both from 1.

    ``appear`` are in B alone, ``vanish`` in A alone, ``stay`` in both, with the rank in A and that in B.
    """

    appear: dict[str, Rank]
    vanish: dict[str, Rank]
    stay: dict[str, tuple[Rank, Rank]]


@dataclass(frozen=True, repr=False)
class SpectraComparison(ShortRepr):
    """The spectra of the n tokens ``pairs`` that are aligned and known in both runs: places in A and in B.

    ``S_a``, ``S_b`` [n, k]: as many singular values as both have. ``left_angles`` (what is written, spans of u) and
    ``right_angles`` (what is read, spans of v) [n, m]: degrees between the spans of the ``leading`` m vectors, rising;
    None where the widths differ. A span is well determined only where sigma_m is well above the next singular value.
    ``writes`` and ``reads`` [n]: what these m vectors u and v read as.
    """

    pairs: list[tuple[int, int]]
    leading: int
    S_a: Float[Array, "n k"]
    S_b: Float[Array, "n k"]
    stable_rank_a: Float[Array, " n"]
    stable_rank_b: Float[Array, " n"]
    left_angles: Float[Array, "n m"] | None
    right_angles: Float[Array, "n m"] | None
    writes: list[ReadChange]
    reads: list[ReadChange]

    def _facts(self) -> Facts:
        yield "tokens", counted(len(self.pairs), "token")
        yield "leading", f"the first {counted(self.leading, 'triplet')}"
        if self.left_angles is not None and self.left_angles.size:
            yield "angles", f"largest angles of u {span(self.left_angles[:, -1].tolist())}°"


@dataclass(frozen=True, repr=False)
class JointComparison(ShortRepr):
    """The same of [J_1 ... J_T] of each run; of their v a `JointRun` holds one token's part, which spans nothing."""

    leading: int
    S_a: Float[Array, " k"]
    S_b: Float[Array, " k"]
    stable_rank_a: float
    stable_rank_b: float
    left_angles: Float[Array, " m"] | None
    writes: ReadChange
    reads: ReadChange

    def _facts(self) -> Facts:
        yield "leading", f"the first {counted(self.leading, 'triplet')}"
        if self.left_angles is not None:
            yield "angles", f"angles of u {span(self.left_angles.tolist())}°"


def compared_spectra(a: SpectrumRun, b: SpectrumRun, rows: Sequence[Pair], leading: int) -> SpectraComparison:
    """The spectra of the aligned tokens that both runs know, with at most ``leading`` triplets' spans and read-outs."""
    k = min(a.S.shape[1], b.S.shape[1])
    m = min(leading, k)
    known_a, known_b = (np.isfinite(run.S).all(axis=1) for run in (a, b))
    pairs = [(i, j) for i, j in rows if i is not None and j is not None and known_a[i] and known_b[j]]
    in_a, in_b = [i for i, _ in pairs], [j for _, j in pairs]
    same_width = a.U.shape[1] == b.U.shape[1]
    return SpectraComparison(
        pairs=pairs,
        leading=m,
        S_a=a.S[in_a, :k],
        S_b=b.S[in_b, :k],
        stable_rank_a=a.stable_rank[in_a],
        stable_rank_b=b.stable_rank[in_b],
        left_angles=angles_between(a.U[in_a][..., :m], b.U[in_b][..., :m]) if same_width else None,
        right_angles=angles_between(*(run.Vh[at][:, :m].swapaxes(1, 2) for run, at in ((a, in_a), (b, in_b))))
        if same_width
        else None,
        writes=[read_change(a.reads_u[i][:m], b.reads_u[j][:m]) for i, j in pairs],
        reads=[read_change(a.reads_v[i][:m], b.reads_v[j][:m]) for i, j in pairs],
    )


def compared_joint(a: JointRun, b: JointRun, leading: int) -> JointComparison:
    """The triplets of all tokens' matrices together, with at most ``leading`` of them in spans and read-outs."""
    k = min(len(a.S), len(b.S))
    m = min(leading, k)
    return JointComparison(
        leading=m,
        S_a=a.S[:k],
        S_b=b.S[:k],
        stable_rank_a=a.stable_rank,
        stable_rank_b=b.stable_rank,
        left_angles=angles_between(a.U[:, :m], b.U[:, :m]) if len(a.U) == len(b.U) else None,
        writes=read_change(a.reads_u[:m], b.reads_u[:m]),
        reads=read_change(a.reads_v[:m], b.reads_v[:m]),
    )


def read_change(a: Sequence[Row], b: Sequence[Row]) -> ReadChange:
    """What comes and goes between the read-outs of some vectors in A and in B, first triplets and best places first."""
    before, after = _ranks(a), _ranks(b)
    return ReadChange(
        appear={token: rank for token, rank in after.items() if token not in before},
        vanish={token: rank for token, rank in before.items() if token not in after},
        stay={token: (rank, after[token]) for token, rank in before.items() if token in after},
    )


def _ranks(rows: Sequence[Row]) -> dict[str, Rank]:
    """Every token with the first triplet that reads as it, and its place there."""
    ranks: dict[str, Rank] = {}
    for triplet, row in enumerate(rows, 1):
        for place, (token, _) in enumerate(row, 1):
            ranks.setdefault(token, (triplet, place))
    return ranks
