"""A finished sweep over the layers, and a logit split over heads: what page Layers shows.

Columns are the input tokens and, last, the joint map of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from eqlin_core.runs.prompt import RunKey
from eqlin_core.runs.split import TargetKind
from eqlin_core.runs.values import Array, Row

JOINT = "joint"


@dataclass(frozen=True)
class SweepRun:
    """One mode of the sweep. L layers, K kinds, C columns, k triplets, r tokens read; arrays in the run's own dtype.

    While it is computed, L is how many of the model's ``n_layers`` are there, from the first on.
    """

    key: RunKey
    mode: str
    n_layers: int
    kinds: tuple[str, ...]
    method: str
    tokens: list[str]
    names: dict[int, str]
    U: Float[Array, "L K C d k"]
    S: Float[Array, "L K C k"]
    stable_rank: Float[Array, "L K C"]
    projections: Float[Array, "L K C k"]  # v . x
    cosines: Float[Array, "L K C k"]  # of v with x
    u_ids: Int[Array, "L K C k r"]
    u_scores: Float[Array, "L K C k r"]
    v_ids: Int[Array, "L K C k r"]
    v_scores: Float[Array, "L K C k r"]
    y_ids: Int[Array, "L K r"]
    errors: Float[Array, "L K"]
    exact: bool

    @property
    def complete(self) -> bool:
        """Whether all layers are there."""
        return len(self.errors) == self.n_layers

    @property
    def columns(self) -> list[str]:
        """The input tokens, and the joint map."""
        return [*self.tokens, JOINT]

    def reads(self, side: str, layer: int, kind: str, column: int, triplet: int) -> Row:
        """(token, score) rows of what u writes (``side`` "u") or v reads ("v"); ``triplet`` counts from 0."""
        place = (layer, self.kinds.index(kind), column, triplet)
        ids, scores = (self.u_ids, self.u_scores) if side == "u" else (self.v_ids, self.v_scores)
        return [(self.names[int(i)], float(s)) for i, s in zip(ids[place], scores[place], strict=True)]

    def cosines_with_last(self, kind: str, triplet: int) -> Float[Array, "L C"]:
        """u of every layer times u of the same triplet of the last block's output."""
        last = self.U[-1, self.kinds.index("layer"), :, :, triplet]
        here = self.U[:, self.kinds.index(kind), :, :, triplet]
        return np.asarray(np.einsum("lcd,cd->lc", here, last))

    def path(self, kind: str, column: int) -> Float[Array, "L 2 2"]:
        """u_1 and u_2 of every layer (second axis) on u_1 and u_2 of the last block's output (third axis)."""
        last = self.U[-1, self.kinds.index("layer"), column, :, :2]
        here = self.U[:, self.kinds.index(kind), column, :, :2]
        return np.asarray(np.einsum("ldk,da->lka", here, last))

    def first_layers(self, token_id: int, kind: str, triplet: int, within: int) -> tuple[Int[Array, " C"], int]:
        """The first layer whose u reads as this token among its best ``within``, for every column, and for y; or -1."""
        place = self.kinds.index(kind)
        written = (self.u_ids[:, place, :, triplet, :within] == token_id).any(-1)  # L, C
        valued = (self.y_ids[:, place, :within] == token_id).any(-1)  # L
        return np.where(written.any(0), written.argmax(0), -1), int(valued.argmax()) if valued.any() else -1

    def read_tokens(self, kind: str, triplet: int) -> list[int]:
        """The ids that are the first read-out somewhere, the most frequent first."""
        place = self.kinds.index(kind)
        ids = np.append(self.u_ids[:, place, :, triplet, 0].ravel(), self.y_ids[:, place, 0])
        distinct, counts = np.unique(ids, return_counts=True)
        return [int(i) for i in distinct[np.argsort(-counts, kind="stable")]]


@dataclass(frozen=True)
class HeadsRun:
    """The logits of tokens by the part that writes, and last the mean logit: see ``DirectContributions``; in float64.

    ``ids`` [m - 1] are the tokens; the last of the m rows is the mean of all logits under the model's probabilities.
    """

    key: RunKey
    tokens: list[str]
    ids: tuple[int, ...]
    heads: Float[Array, "m L H T"]
    attn: Float[Array, "m L T"]
    mlp: Float[Array, "m L T"]
    embedding: Float[Array, "m T"]
    attn_bias: Float[Array, "m L"]
    mlp_bias: Float[Array, "m L"]
    other_bias: Float[Array, " m"]  # of the embeddings and the final norm
    total: Float[Array, " m"]
    baseline: str | int = "zero"

    def weights(self, first: int, second: int | None = None, kind: TargetKind = "logit") -> Float[Array, " m"]:
        """What to sum the first axes with, for one token's logit or log-probability, or the difference of two."""
        weights = np.zeros(len(self.total))
        weights[self.ids.index(first)] += 1
        if second is not None:
            weights[self.ids.index(second)] -= 1
        elif kind == "log-probability":
            weights[-1] -= 1
        return weights
