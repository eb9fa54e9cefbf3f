"""The result of a sweep over all layers: triplets of every layer, kind and token, and what they read as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import InvalidValue
from eqlin_core.reprs import Facts, ShortRepr, counted, error_text
from eqlin_core.runs.convention import Share
from eqlin_core.runs.values import Row

KINDS = ("layer", "attn", "mlp")


@dataclass(frozen=True, repr=False)
class ReadTriplets(ShortRepr):
    """The k largest singular triplets at every place, J ~ U diag(S) Vh, signed so that u . y >= 0.

    ``stable_rank`` has the exact Frobenius norm; ``projections`` are v . x, ``cosines`` those of v with x;
    ``u_ids``, ``u_scores`` the tokens that u writes, through the unembedding; ``v_ids``, ``v_scores`` those that v
    reads, by cosine with the input embeddings. r tokens each, best first.
    """

    U: Float[Tensor, "*place d k"]
    S: Float[Tensor, "*place k"]
    Vh: Float[Tensor, "*place k columns"]
    stable_rank: Float[Tensor, "*place"]
    projections: Float[Tensor, "*place k"]
    cosines: Float[Tensor, "*place k"]
    u_ids: Int[Tensor, "*place k r"]
    u_scores: Float[Tensor, "*place k r"]
    v_ids: Int[Tensor, "*place k r"]
    v_scores: Float[Tensor, "*place k r"]

    def _facts(self) -> Facts:
        yield "places", f"places {' x '.join(map(str, self.stable_rank.shape))}"
        yield "triplets", f"k={self.S.shape[-1]}"
        yield "tokens read", f"{self.u_ids.shape[-1]} read"
        yield "dtype", dtype_name(self.S.dtype)


@dataclass(frozen=True, repr=False)
class LayerSweep(ShortRepr):
    """The maps to every layer and kind at one prompt. L layers, K kinds, T tokens, width d, k triplets, r tokens read.

    ``triplets`` of J_i have the places [L, K, T]; ``joint`` ones of [J_1 ... J_T] [L, K], their v of T d columns read
    out where it is longest. ``values`` [L, K, d] is y at each place, ``y_ids`` [L, K, r] its read-out, ``errors``
    [L, K] = ||sum_i J_i x_i + b - y|| / ||y||. ``method`` says how the maps were computed.
    """

    mode: str
    kinds: tuple[str, ...]
    method: str
    final_norm: bool
    gated_path: Share
    attention: Share
    dtype: str
    bound: float
    tokens: list[str]
    token_ids: list[int]
    names: dict[int, str]  # of every token id below
    triplets: ReadTriplets
    joint: ReadTriplets
    values: Float[Tensor, "L K d"]
    y_ids: Int[Tensor, "L K r"]
    y_scores: Float[Tensor, "L K r"]
    errors: Float[Tensor, "L K"]

    def _facts(self) -> Facts:
        yield "maps", self.mode
        yield "layers", counted(len(self.values), "layer")
        yield "kinds", ", ".join(self.kinds)
        yield "tokens", counted(len(self.tokens), "token")
        yield "triplets", f"k={self.triplets.S.shape[-1]}"
        yield "width", f"d={self.values.shape[-1]}"
        yield "dtype", self.dtype
        yield "exactness", error_text(self.exact, float(self.errors.max()))

    @property
    def U(self) -> Float[Tensor, "L K T d k"]:
        """The left singular vectors of every token's matrix."""
        return self.triplets.U

    @property
    def S(self) -> Float[Tensor, "L K T k"]:
        """The singular values of every token's matrix."""
        return self.triplets.S

    @property
    def Vh(self) -> Float[Tensor, "L K T k d"]:
        """The right singular vectors of every token's matrix."""
        return self.triplets.Vh

    @property
    def stable_rank(self) -> Float[Tensor, "L K T"]:
        """||J_i||_F^2 / sigma_1^2."""
        return self.triplets.stable_rank

    @property
    def exact(self) -> bool:
        """Whether every map reproduces the value at its place within the bound of the dtype."""
        return bool((self.errors <= self.bound).all())

    def read_u(self, layer: int, kind: str, token: int | None, triplet: int = 0) -> Row:
        """(token, score) rows of what u of a triplet writes; ``token`` None is the joint map.

        Layers, tokens and triplets count from 0, from -1 backwards. Raises EqlinError for one that is not there.
        """
        return self._row("u", layer, kind, token, triplet)

    def read_v(self, layer: int, kind: str, token: int | None, triplet: int = 0) -> Row:
        """(token, cosine) rows of what v of a triplet reads; places as in ``read_u``."""
        return self._row("v", layer, kind, token, triplet)

    def first_layers(
        self, token_id: int, kind: str = "layer", triplet: int = 0, within: int = 1
    ) -> Int[Tensor, " columns"]:
        """The first layer whose u reads as this token, for every input token and, last, the joint map; -1 for never.

        ``triplet`` counts from 0; ``within`` is how many of the best tokens are looked at, at most r.
        """
        place, triplet = self.kind_index(kind), self._place("triplet", triplet, self.triplets.S.shape[-1])
        token_id = arguments.whole("token_id", token_id, 0, 2**31 - 1)
        within = arguments.whole("within", within, 1)
        ids = torch.cat([self.triplets.u_ids[:, place], self.joint.u_ids[:, place, None]], 1)  # L, T+1, k, r
        reached = (ids[:, :, triplet, :within] == token_id).any(-1)
        return torch.where(reached.any(0), reached.int().argmax(0), -1)

    def kind_index(self, kind: str) -> int:
        """Where a kind stands in the arrays. Raises EqlinError for one that was not computed."""
        if not isinstance(kind, str) or kind not in self.kinds:
            raise InvalidValue(f"This sweep has the kinds {', '.join(self.kinds)}, not {arguments.shown(kind)}.")
        return self.kinds.index(kind)

    def _row(self, side: str, layer: int, kind: str, token: int | None, triplet: int) -> Row:
        reads: Any = self.joint if token is None else self.triplets
        place: tuple[int, ...] = self._place("layer", layer, len(self.values)), self.kind_index(kind)
        if token is not None:
            place = *place, self._place("token", token, len(self.tokens))
        triplet = self._place("triplet", triplet, self.triplets.S.shape[-1])
        ids, scores = getattr(reads, f"{side}_ids")[place], getattr(reads, f"{side}_scores")[place]
        pairs = zip(ids[triplet].tolist(), scores[triplet].tolist(), strict=True)
        return [(self.names[i], score) for i, score in pairs]

    @staticmethod
    def _place(name: str, index: int, count: int) -> int:
        found = arguments.whole(name, index)
        if not -count <= found < count:
            raise InvalidValue(f"This sweep has the {name}s 0 to {count - 1}, not {arguments.shown(found)}.")
        return found
