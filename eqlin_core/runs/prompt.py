"""A finished analysis as plain NumPy arrays: what pages show, notebooks keep, and files hold.

A run names everything that its numbers depend on in its key, and holds no tensor and no model: this needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from eqlin_core import arguments
from eqlin_core.reprs import Facts, ShortRepr, counted, error_text, excerpt, span
from eqlin_core.runs.convention import Convention, Share
from eqlin_core.runs.exactness import Exactness
from eqlin_core.runs.treatments import Treatment
from eqlin_core.runs.values import Array, Row

# Raised when a change of the engine changes numbers, so that older results are not taken for new ones.
ENGINE_VERSION = "1"


@dataclass(frozen=True)
class RunKey:
    """What the numbers of a run depend on."""

    model: str
    revision: str
    dtype: str
    token_ids: tuple[int, ...]
    gated_path: Share
    attention: Share = "held"
    engine: str = ENGINE_VERSION

    @property
    def convention(self) -> Convention:
        """Which of the exact maps the run is of."""
        return Convention(self.gated_path, self.attention)


@dataclass(frozen=True, repr=False)
class Target(ShortRepr):
    """A vocabulary token that a logit is split for: its row w of the unembedding, its logit w . y and probability."""

    token_id: int
    token: str
    row: Float[Array, " d"]
    logit: float
    probability: float

    def _facts(self) -> Facts:
        yield "token", repr(self.token)
        yield "token id", f"id {self.token_id}"
        yield "logit", f"logit {self.logit:.4g}"
        yield "probability", f"probability {self.probability:.3g}"


@dataclass(frozen=True, repr=False)
class TokenRun(ShortRepr):
    """The contributions of one prompt: every array in float64, whatever the dtype they were computed in.

    Against a ``baseline`` m other than "zero" ``contributions`` are J_i (x_i - m) and ``bias`` is sum_i J_i m + b: they
    sum to ``output`` all the same. ``expected`` is sum_v p_v W_v, the mean row of the unembedding under the model's
    next-token distribution: a row less it is the direction of a log-probability.

    ``treatments`` says how every module class of the model was frozen, ``made`` when this was computed (ISO 8601, UTC).
    ``complete`` is False for a preview, ``saved`` True for a run that was read from a file; ``shipped`` is the version
    of eqlin that brought the file along, if one did.
    """

    key: RunKey
    prompt: str
    device: str
    width: int
    n_layers: int
    tokens: list[str]
    inputs: Float[Array, "tokens d"]
    output: Float[Array, " d"]
    bias: Float[Array, " d"]
    contributions: Float[Array, "tokens d"]
    targets: list[Target]
    exactness: Exactness | None
    bounds: tuple[float, float]
    treatments: list[Treatment] = field(default_factory=list)
    complete: bool = True
    made: str = ""
    saved: bool = False
    shipped: str = ""
    baseline: str | int = "zero"
    expected: Float[Array, " d"] | None = None

    def _facts(self) -> Facts:
        yield "model", self.key.model
        yield "prompt", excerpt(self.prompt)
        yield "tokens", counted(len(self.tokens), "token")
        yield "width", f"d={self.width}"
        yield "dtype", self.key.dtype
        if self.targets:
            yield "next token", f"next {self.targets[0].token!r} {self.targets[0].probability:.1%}"
        if self.exactness is not None:
            yield "exactness", error_text(self.exactness.exact, self.exactness.reconstruction)
        if not self.complete:
            yield "state", "preview"

    def split(self, direction: Float[Array, " d"]) -> tuple[Float[Array, " tokens"], float, float]:
        """(w . J_i x_i of every token, w . b, w . y) for a direction w of the output space."""
        direction = arguments.array("direction", direction, self.output.shape)
        return self.contributions @ direction, float(self.bias @ direction), float(self.output @ direction)

    @property
    def norms(self) -> Float[Array, " tokens"]:
        """||J_i x_i||."""
        return np.asarray(np.linalg.norm(self.contributions, axis=1))

    @property
    def cosines(self) -> Float[Array, " tokens"]:
        """cos(J_i x_i, y); zero for a token that contributes nothing."""
        sizes = self.norms * np.linalg.norm(self.output)
        products = self.contributions @ self.output
        return np.asarray(np.divide(products, sizes, out=np.zeros_like(sizes), where=sizes > 0))


@dataclass(frozen=True)
class TokenRuns:
    """The contributions of one prompt by several of its exact maps: in a file, what they share stands once."""

    runs: list[TokenRun]

    def by(self, convention: Convention) -> TokenRun | None:
        """Those by this map; None where they are not among them."""
        return next((run for run in self.runs if run.key.convention == convention), None)


@dataclass(frozen=True, repr=False)
class SpectrumRun(ShortRepr):
    """The k largest singular triplets of every token, with what they read as and what they do at this prompt."""

    key: RunKey
    tokens: list[str]
    U: Float[Array, "tokens d k"]
    S: Float[Array, "tokens k"]
    Vh: Float[Array, "tokens k d"]
    stable_rank: Float[Array, " tokens"]
    projections: Float[Array, "tokens k"]  # v_k . x_i
    reads_u: list[list[Row]]
    reads_v: list[list[Row]]
    exactness: Exactness

    def _facts(self) -> Facts:
        yield "model", self.key.model
        yield "tokens", counted(len(self.tokens), "token")
        yield "triplets", f"k={self.S.shape[-1]}"
        known = self.S[np.isfinite(self.S[:, 0]), 0]
        if len(known):
            yield "largest singular values", f"σ₁ {span(known.tolist())}"
        if len(known) < len(self.S):
            yield "there", f"of {counted(len(known), 'token')} so far"
        yield "dtype", self.key.dtype
        yield "exactness", error_text(self.exactness.exact, self.exactness.reconstruction)

    def shares(self, token: int, direction: Float[Array, " d"]) -> Float[Array, " k"]:
        """w . u_k sigma_k (v_k . x_i): the part of token i's term of the logit that triplet k carries."""
        n = len(self.tokens)
        token = arguments.position("token", token, n, f"the prompt has {n} tokens")
        direction = arguments.array("direction", direction, (self.U.shape[1],))
        return np.asarray((direction @ self.U[token]) * self.S[token] * self.projections[token])


@dataclass(frozen=True, repr=False)
class EarlySpectra(SpectrumRun):
    """The largest triplets of a few tokens, found by passes before the matrix was there.

    They are those of the tokens ``there``, of ``awaited`` tokens that come early. Everything else is NaN or empty, and
    so is every stable rank, which needs the exact Frobenius norm. ``residual``: the largest of ||J v - sigma u|| and
    ||J^T u - sigma v|| over sigma_1. ``exactness`` is that of the contributions.
    """

    there: tuple[int, ...] = ()
    awaited: int = 0
    residual: float = 0.0
