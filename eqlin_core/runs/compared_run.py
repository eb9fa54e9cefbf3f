"""One side of a comparison: what a run explains, as an exact sum, with what it predicts and how exact it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eqlin_core import arguments
from eqlin_core.errors import InvalidValue
from eqlin_core.reprs import Facts, ShortRepr, counted, error_text, excerpt
from eqlin_core.runs.exactness import Exactness
from eqlin_core.runs.prompt import RunKey, Target, TokenRun
from eqlin_core.runs.split import Split, TargetKind
from eqlin_core.runs.values import Array, Row

# A token to explain: as `Target`, text or id, or the run's most likely one.
Wanted = Target | str | int | None


@dataclass(frozen=True, repr=False)
class ComparedRun(ShortRepr):
    """``total`` = ``constant`` + the sum of ``terms`` but for rounding, of which an exact run has at most ``bound``.

    ``explained`` is the token, ``versus`` the one that its lead is over; ``split`` says of what kind the total is,
    against which baseline, by which map. ``probability`` is that of ``explained``, None where the run does not know it;
    ``predictions`` are the likely next tokens. ``exactness`` is None, and ``complete`` False, for a preview.
    """

    key: RunKey
    prompt: str
    device: str
    tokens: list[str]
    split: Split
    explained: str
    versus: str | None
    terms: Float[Array, " tokens"]
    constant: float
    total: float
    bound: float
    probability: float | None
    predictions: Row
    exactness: Exactness | None
    complete: bool

    def _facts(self) -> Facts:
        yield "model", self.key.model
        yield "prompt", excerpt(self.prompt)
        yield "tokens", counted(len(self.tokens), "token")
        yield "dtype", self.key.dtype
        yield "split", self.split.words
        yield "explained", f"{self.explained_words} {self.total:.4g}"
        if self.exactness is not None:
            yield "exactness", error_text(self.exactness.exact, self.exactness.reconstruction)

    @property
    def explained_words(self) -> str:
        """The explained token, or both that are compared, in quotes."""
        return repr(self.explained) if self.versus is None else f"{self.explained!r} over {self.versus!r}"

    @property
    def remainder(self) -> float:
        """The total less all its parts."""
        return math.fsum([self.total, -self.constant, *(-self.terms).tolist()])


def compared_run(
    run: TokenRun, kind: TargetKind, target: tuple[str, Wanted], versus: tuple[str, Wanted]
) -> ComparedRun:
    """A run's sum for the wanted token, or for its lead over a second one; both come with their argument's name."""
    first = _target(run, *target)
    second = None if versus[1] is None else _target(run, *versus)
    direction = _direction(run, kind, first, second)
    terms, constant, total = run.split(direction)
    return ComparedRun(
        key=run.key,
        prompt=run.prompt,
        device=run.device,
        tokens=run.tokens,
        split=Split(kind, run.baseline, run.key.convention),
        explained=first.token,
        versus=None if second is None else second.token,
        terms=terms,
        constant=constant,
        total=total,
        bound=_bound(run, direction),
        probability=_probability(run, first),
        predictions=[(t.token, t.probability) for t in run.targets],
        exactness=run.exactness,
        complete=run.complete,
    )


def _target(run: TokenRun, name: str, wanted: Wanted) -> Target:
    takes = "a Target, or the text or id of one of the run's likely next tokens"
    if isinstance(wanted, Target):
        arguments.array(f"{name}.row", wanted.row, (run.width,))
        return wanted
    if wanted is None:
        if not run.targets:
            raise InvalidValue(f"The run has no likely next tokens: pass a Target as {name}.")
        return run.targets[0]
    sought = wanted if isinstance(wanted, str) else arguments.as_whole(wanted)
    if sought is None:
        arguments.wrong_type(name, wanted, takes)
    found = [t for t in run.targets if sought in (t.token, t.token_id)]
    if not found:
        arguments.wrong_value(name, wanted, takes)
    return found[0]


def _direction(run: TokenRun, kind: TargetKind, first: Target, second: Target | None) -> Float[Array, " d"]:
    if second is not None:
        return np.asarray(first.row - second.row)
    if kind == "logit":
        return first.row
    if run.expected is None:
        raise InvalidValue(
            "The run holds no mean row of the unembedding: compute it again to explain log-probabilities."
        )
    return np.asarray(first.row - run.expected)


def _probability(run: TokenRun, target: Target) -> float | None:
    """The run's own: a target that was made at another prompt knows that of the other prompt alone."""
    return next((t.probability for t in run.targets if t.token_id == target.token_id), None)


def _bound(run: TokenRun, direction: Float[Array, " d"]) -> float:
    """|w . (sum_i J_i x_i + b - y)| of a run as exact as its dtype allows, and what float64 loses in these products."""
    size, output = float(np.linalg.norm(direction)), float(np.linalg.norm(run.output))
    summed = output + float(run.norms.sum()) + float(np.linalg.norm(run.bias))
    rounding = (run.width + len(run.tokens)) * float(np.finfo(np.float64).eps)
    return size * (run.bounds[0] * output + rounding * summed)
