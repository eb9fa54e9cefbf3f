"""A run beside the same computed again: every number with how far it may be off, and whether it is.

Sums in another order, on other threads or another device, end in other last digits, so arrays are compared with a
tolerance: in units of their row's root mean square, since what rounds in a row rounds at the row's own scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from eqlin_core.runs.exactness import BOUNDS
from eqlin_core.runs.prompt import RunKey, Target, TokenRun
from eqlin_core.runs.values import Array

# Largest difference of one number, in units of its row's root mean square. Measured on the default model with one
# thread against two: 1.6e-4 in float32, 5.5e-14 in float64. In half precision weights themselves round more coarsely.
ELEMENTS = {"float64": 1e-11, "float32": 1e-3, "float16": 0.2, "bfloat16": 0.8}
# Of what is read from the weights and not computed, in half precision too.
_COPIED = 1e-3
# Errors of an exact map are what rounding left: noise, of which only the order of magnitude comes again.
_ERRORS = 10.0


@dataclass(frozen=True)
class Check:
    """One thing that was compared: how large the largest difference is, and how large it may be.

    Of texts and whole numbers, which are equal or not, both are 0; ``said`` is what differs, in words.
    """

    what: str
    difference: float
    tolerance: float
    said: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the difference is no larger than it may be; NaN never is."""
        return self.difference <= self.tolerance


def equal(what: str, stored: Any, fresh: Any, said: str = "") -> Check:
    """A check of what must be the same."""
    same = bool(stored == fresh)
    return Check(what, 0.0 if same else math.inf, 0.0, "" if same else said or f"{stored!r} here, {fresh!r} again")


def close(what: str, stored: Array, fresh: Array, tolerance: float) -> Check:
    """A check of arrays whose last axis is a row; NaN agrees with NaN alone."""
    if stored.shape != fresh.shape:
        return Check(what, math.inf, tolerance, f"{list(stored.shape)} numbers here, {list(fresh.shape)} again")
    if stored.size == 0 or np.array_equal(stored, fresh, equal_nan=True):
        return Check(what, 0.0, tolerance)
    scale = np.sqrt(np.mean(np.square(fresh), axis=-1, keepdims=True))
    apart = np.abs(stored - fresh)
    off = np.divide(apart, scale, out=np.where(apart > 0, math.inf, 0.0), where=scale > 0)
    place = np.unravel_index(np.argmax(np.nan_to_num(off, nan=math.inf)), off.shape)
    largest = float(off[place])
    said = (
        ""
        if largest <= tolerance
        else f"at {list(map(int, place))}: {stored[place]:.6g} here, {fresh[place]:.6g} again"
    )
    return Check(what, largest, tolerance, said)


def compare_token_runs(stored: TokenRun, fresh: TokenRun, targets: Sequence[Target]) -> list[Check]:
    """Every field of a run against the same run computed again, whose ``targets`` are those of the stored one's ids."""
    tolerance, (_, forward) = ELEMENTS[fresh.key.dtype], BOUNDS[fresh.key.dtype]
    names = ("width", "n_layers", "tokens", "bounds", "complete", "baseline", "treatments")
    checks = [*compare_keys(stored.key, fresh.key), *(_field(name, stored, fresh) for name in names)]
    checks.append(close("inputs", stored.inputs, fresh.inputs, min(tolerance, _COPIED)))
    for name in ("contributions", "output", "bias"):
        checks.append(close(name, getattr(stored, name), getattr(fresh, name), tolerance))
    if stored.expected is not None and fresh.expected is not None:  # of the stock model, as its probabilities are
        checks.append(close("mean row of the unembedding", stored.expected, fresh.expected, forward))
    checks += _of_targets(stored.targets, targets, tolerance, forward)
    return checks + _of_errors(stored, fresh)


def compare_keys(stored: RunKey, fresh: RunKey) -> list[Check]:
    """What both runs say they depend on; of the revision the caller knows more."""
    return [_field(name, stored, fresh) for name in ("dtype", "token_ids", "gated_path", "attention", "engine")]


def _field(name: str, stored: Any, fresh: Any) -> Check:
    return equal(name.replace("_", " "), getattr(stored, name), getattr(fresh, name))


def _of_targets(stored: Sequence[Target], fresh: Sequence[Target], tolerance: float, forward: float) -> list[Check]:
    if not stored:
        return []

    def numbers(targets: Sequence[Target], name: str) -> Float[Array, " n"]:
        return np.array([getattr(target, name) for target in targets], dtype=np.float64)

    return [
        equal("next tokens", [t.token for t in stored], [t.token for t in fresh]),
        close(
            "rows of next tokens",
            np.stack([t.row for t in stored]),
            np.stack([t.row for t in fresh]),
            min(tolerance, _COPIED),
        ),
        close("logits", numbers(stored, "logit"), numbers(fresh, "logit"), tolerance),
        close("probabilities", numbers(stored, "probability"), numbers(fresh, "probability"), forward),
    ]


def _of_errors(stored: TokenRun, fresh: TokenRun) -> list[Check]:
    if stored.exactness is None or fresh.exactness is None:
        return [equal("exactness", stored.exactness is None, fresh.exactness is None)]
    a, b = stored.exactness, fresh.exactness
    checks = [equal("exact", a.exact, b.exact), equal("leaks", a.leaks, b.leaks)]
    for name in ("reconstruction", "forward"):
        before, again = getattr(a, name), getattr(b, name)
        factor = _factor(before, again)
        said = "" if factor <= _ERRORS else f"{before:.3g} here, {again:.3g} again"
        checks.append(Check(f"{name} error, as a factor", factor, _ERRORS, said))
    return checks


def _factor(a: float, b: float) -> float:
    """How many times the smaller of two errors the larger one is."""
    if a == b:
        return 1.0
    return max(a / b, b / a) if min(a, b) > 0 else math.inf
