"""Two runs side by side: every term of both sums, what it changed by, and what the runs differ in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from eqlin_core import arguments
from eqlin_core.errors import InvalidValue
from eqlin_core.reprs import Facts, ShortRepr, counted
from eqlin_core.runs.alignment import Pair, aligned
from eqlin_core.runs.compare_spectra import JointComparison, SpectraComparison, compared_joint, compared_spectra
from eqlin_core.runs.compare_words import differs, missing, remarks
from eqlin_core.runs.compared_run import ComparedRun, Wanted, compared_run
from eqlin_core.runs.prompt import SpectrumRun, TokenRun
from eqlin_core.runs.ranks import JointRun
from eqlin_core.runs.split import TARGET_KINDS, TargetKind
from eqlin_core.runs.values import Array


@dataclass(frozen=True, repr=False)
class RunComparison(ShortRepr):
    """Runs A and B, and B less A, over n ``rows``: places of aligned tokens in A and in B, None where one has none.

    ``difference`` [n] and ``constant`` sum to ``total`` but for ``remainder``, which exact runs keep within ``bound``.
    ``differs`` says what the runs differ in, as (what, in A, in B). What cannot be compared is None, and ``missing``
    has a sentence for it, by its name; ``remarks`` are sentences on what is compared all the same.
    """

    a: ComparedRun
    b: ComparedRun
    rows: list[Pair]
    differs: list[tuple[str, str, str]]
    remarks: list[str]
    missing: dict[str, str]
    spectra: SpectraComparison | None
    joint: JointComparison | None

    def _facts(self) -> Facts:
        yield "rows", counted(len(self.rows), "row")
        yield "differs", "differs in " + (", ".join(what for what, _, _ in self.differs) or "nothing")
        yield "totals", f"{self.a.total:.4g} to {self.b.total:.4g}"
        yield "remainder", f"remainder {self.remainder:.1e} of at most {self.bound:.1e}"

    @property
    def tokens(self) -> list[tuple[str | None, str | None]]:
        """The aligned tokens, in A and in B."""
        return [
            (None if i is None else self.a.tokens[i], None if j is None else self.b.tokens[j]) for i, j in self.rows
        ]

    @property
    def terms_a(self) -> Float[Array, " n"]:
        """Each row's term in A, NaN where A has no token."""
        return np.array([math.nan if i is None else self.a.terms[i] for i, _ in self.rows], dtype=np.float64)

    @property
    def terms_b(self) -> Float[Array, " n"]:
        """Each row's term in B, NaN where B has no token."""
        return np.array([math.nan if j is None else self.b.terms[j] for _, j in self.rows], dtype=np.float64)

    @property
    def difference(self) -> Float[Array, " n"]:
        """B's terms less A's; a token that is not there adds nothing."""
        return np.asarray(np.nan_to_num(self.terms_b, nan=0.0) - np.nan_to_num(self.terms_a, nan=0.0))

    @property
    def constant(self) -> float:
        """B's constant (bias, and the baseline's part) less A's."""
        return self.b.constant - self.a.constant

    @property
    def total(self) -> float:
        """What is explained in B less what is explained in A."""
        return self.b.total - self.a.total

    @property
    def remainder(self) -> float:
        """``total`` less all differences: the rounding of both runs."""
        return math.fsum([self.total, -self.constant, *(-self.difference).tolist()])

    @property
    def bound(self) -> float:
        """The largest remainder that two exact runs of their dtypes can have."""
        return self.a.bound + self.b.bound


def compare_runs(
    a: TokenRun,
    b: TokenRun,
    *,
    kind: TargetKind = "logit",
    target_a: Wanted = None,
    target_b: Wanted = None,
    versus_a: Wanted = None,
    versus_b: Wanted = None,
    spectra_a: SpectrumRun | None = None,
    spectra_b: SpectrumRun | None = None,
    joint_a: JointRun | None = None,
    joint_b: JointRun | None = None,
    leading: int = 8,
) -> RunComparison:
    """Two runs of any models and prompts, and the exact difference B less A of what each explains.

    A ``target`` is a `Target`, or one of the run's likely next tokens by its text or id; None is the run's most likely
    one. A second token ``versus`` explains the lead over it instead. ``kind``: the logits, or log-probabilities. With
    the spectra of both runs, and with their joint triplets, these are compared as well, subspaces and read-outs of the
    first ``leading`` triplets. Raises EqlinError for a token that a run does not hold, and for spectra of another run.
    """
    for name, run in (("a", a), ("b", b)):
        arguments.instance(name, run, TokenRun, "a TokenRun, as token_run gives it")
    arguments.choice("kind", kind, TARGET_KINDS)
    leading = arguments.whole("leading", leading, 1)
    for name, part, kinds, run in (
        ("spectra_a", spectra_a, SpectrumRun, a),
        ("spectra_b", spectra_b, SpectrumRun, b),
        ("joint_a", joint_a, JointRun, a),
        ("joint_b", joint_b, JointRun, b),
    ):
        _check_part(name, part, kinds, run)
    in_a = compared_run(a, kind, ("target_a", target_a), ("versus_a", versus_a))
    in_b = compared_run(b, kind, ("target_b", target_b), ("versus_b", versus_b))
    rows = aligned(a.tokens, b.tokens)
    spectra = joint = None
    if spectra_a is not None and spectra_b is not None:
        spectra = compared_spectra(spectra_a, spectra_b, rows, leading)
    if joint_a is not None and joint_b is not None:
        joint = compared_joint(joint_a, joint_b, leading)
    said = missing({"a": in_a, "b": in_b}, (a.width, b.width), spectra, joint)
    return RunComparison(in_a, in_b, rows, differs(in_a, in_b), remarks(a, b), said, spectra, joint)


def _check_part(name: str, part: Any, kind: type, run: TokenRun) -> None:
    """Whether spectra are None, or those of the same map as a run."""
    if part is None:
        return
    arguments.instance(name, part, kind, f"a {kind.__name__} or None")
    if part.key != run.key or part.tokens != run.tokens:
        raise InvalidValue(f"{name} is of another map than run {name[-1]}: take both from the same one.")
