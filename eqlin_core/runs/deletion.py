"""What deleting tokens does at one prompt, measured, beside what exact splits say: plain arrays for pages and files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eqlin_core.reprs import Facts, ShortRepr, counted
from eqlin_core.runs.convention import Convention
from eqlin_core.runs.prompt import RunKey
from eqlin_core.runs.split import TargetKind
from eqlin_core.runs.values import Array


@dataclass(frozen=True, repr=False)
class LeaveOneOutRun(ShortRepr):
    """How much the logits and log-probabilities of m tokens fall when each token of the prompt alone is deleted."""

    key: RunKey
    deletion: str | int
    tokens: list[str]
    target_ids: list[int]
    logits: Float[Array, "tokens m"]
    log_probabilities: Float[Array, "tokens m"]

    def _facts(self) -> Facts:
        yield "model", self.key.model
        yield "tokens", counted(len(self.tokens), "token")
        yield "deletion", f"by {self.deletion}"
        yield "targets", counted(len(self.target_ids), "target")

    def falls(self, kind: TargetKind, target: int, versus: int | None = None) -> Float[Array, " tokens"]:
        """The fall of one target token, or of its lead over a second one, which is the same for both kinds."""
        table = self.logits if kind == "logit" else self.log_probabilities
        falls = table[:, self.target_ids.index(target)]
        return np.asarray(falls if versus is None else falls - table[:, self.target_ids.index(versus)])


@dataclass(frozen=True, repr=False)
class HiddenRun(ShortRepr):
    """The measured effect of deleting each token, by what made it: ``parts`` [name -> tokens] sum to ``measured``.

    "exact map" is the exact split's term against the filler, the others are what freezing holds fixed, set free in the
    order in which they stand; "softmax" is what the normaliser of a log-probability adds to its own direction.
    """

    key: RunKey
    tokens: list[str]
    parts: dict[str, Float[Array, " tokens"]]
    measured: Float[Array, " tokens"]

    def _facts(self) -> Facts:
        yield "model", self.key.model
        yield "tokens", counted(len(self.tokens), "token")
        yield "parts", ", ".join(self.parts)


@dataclass(frozen=True, repr=False)
class CurvesRun(ShortRepr):
    """What is left of the explained token as more tokens are deleted, or kept, in the order that each method gives.

    ``points`` [n]: how many tokens are deleted (or kept); ``deletion`` and ``insertion``: by method, the
    log-probability [n] with the highest-scored so many tokens deleted, and with only these kept.
    """

    key: RunKey
    tokens: list[str]
    points: list[int]
    deletion: dict[str, Float[Array, " n"]]
    insertion: dict[str, Float[Array, " n"]]

    def _facts(self) -> Facts:
        yield "model", self.key.model
        yield "tokens", counted(len(self.tokens), "token")
        yield "methods", ", ".join(self.deletion)


@dataclass(frozen=True, repr=False)
class ConventionsRun(ShortRepr):
    """The same target split by several exact maps: ``terms`` [maps, tokens], ``constants`` [maps]; rows sum alike."""

    key: RunKey
    tokens: list[str]
    conventions: list[Convention]
    terms: Float[Array, "maps tokens"]
    constants: Float[Array, " maps"]

    def _facts(self) -> Facts:
        yield "model", self.key.model
        yield "tokens", counted(len(self.tokens), "token")
        yield "maps", "; ".join(c.words for c in self.conventions)

    def differs(self, shown: Convention) -> list[int]:
        """The tokens whose sign is another in some other map, or whose rank is off by more than a third of them all."""
        own = self.terms[self.conventions.index(shown)]
        others = [row for row, c in zip(self.terms, self.conventions, strict=True) if c != shown]
        far = max(1, len(own) // 3)
        rank = np.argsort(np.argsort(-own, kind="stable"))
        moved = np.zeros(len(own), dtype=bool)
        for row in others:
            other = np.argsort(np.argsort(-row, kind="stable"))
            moved |= (np.sign(row) != np.sign(own)) | (np.abs(other - rank) > far)
        return [int(i) for i in np.flatnonzero(moved)]
