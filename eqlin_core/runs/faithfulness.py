"""How far scores of tokens foretell what the model does without them: measures, means and intervals over prompts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from eqlin_core import arguments
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.reprs import Facts, ShortRepr, counted
from eqlin_core.runs.values import Array

RANK, RANK_REST = "rank", "rank without the first"
AREA = "area"
TRUTH_FIRST, TRUTH_RANK = "truth first", "truth rank"
RESAMPLES = 4000
# The seed of the bootstrap: the same study prints the same interval.
_SEED = 0


def rank_correlation(scores: Float[Array, " n"], measured: Float[Array, " n"]) -> float:
    """Spearman's correlation, mean ranks for ties; NaN for fewer than three values, and where one side is constant."""
    if len(scores) < 3:
        return math.nan
    a, b = rankdata(scores), rankdata(measured)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else math.nan


def drop_name(k: int | float, kept: bool = False) -> str:
    """What the measure of a share or a number of tokens is called: ``drop 1``, ``drop 10 %``, ``keep 10 %``."""
    how_many = f"{k:.0%}".replace("%", " %") if isinstance(k, float) else str(k)
    return f"{'keep' if kept else 'drop'} {how_many}"


def how_many(k: int | float, tokens: int) -> int:
    """The number of tokens that k of them are: itself, or a share of all, rounded up; never more than there are."""
    return min(tokens, math.ceil(k * tokens - 1e-9) if isinstance(k, float) else k)


@dataclass(frozen=True, repr=False)
class Faithfulness(ShortRepr):
    """Methods measured on prompts. ``values[measure]`` [methods, prompts], NaN where a measure does not exist.

    "rank" is Spearman's correlation of the scores with leave-one-out (the fall of the explained token's log-probability
    when that token alone is deleted), "rank without the first" leaves out the first position. "drop k" is the fall when
    the k highest-scored tokens are deleted (comprehensiveness), "keep k" when all others are (sufficiency: less is
    better); "area" the mean of the log-probability with the lowest-scored deleted first less that with the highest.
    "truth first" is whether the highest score is on the word known to decide, "truth rank" one over its rank.
    ``exact`` [methods]: whether a method's scores sum to its target. ``chats`` [prompts]: whether each was a chat in
    the model's template; studies that do not say so had none.
    """

    model: str
    deletion: str
    methods: list[str]
    exact: list[bool]
    kinds: list[str]
    tokens: list[int]
    values: dict[str, Float[Array, "methods prompts"]]
    chats: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.chats:
            object.__setattr__(self, "chats", [False] * len(self.tokens))

    def _facts(self) -> Facts:
        yield "model", self.model
        yield "methods", counted(len(self.methods), "method")
        yield "prompts", counted(len(self.tokens), "prompt")
        yield "measures", ", ".join(self.values)

    def of(self, measure: str, method: str) -> Float[Array, " prompts"]:
        """The values of one method. Raises EqlinError for a measure or a method that is not there."""
        if not isinstance(measure, str) or measure not in self.values:
            raise InvalidValue(f"There is no measure {arguments.shown(measure)}; there are {', '.join(self.values)}.")
        if not isinstance(method, str) or method not in self.methods:
            raise InvalidValue(f"There is no method {arguments.shown(method)}; there are: {'; '.join(self.methods)}.")
        return np.asarray(self.values[measure][self.methods.index(method)])

    def mean(self, measure: str, method: str) -> float:
        """The mean over the prompts for which the measure exists."""
        return _mean(self.of(measure, method))

    def interval(self, measure: str, method: str, level: float = 0.95) -> tuple[float, float]:
        """The bootstrap interval of the mean over prompts, by percentiles."""
        return bootstrap(self.of(measure, method), level)

    def difference(self, measure: str, method: str, other: str, level: float = 0.95) -> tuple[float, float, float]:
        """(mean, low, high) of how much ``method`` lies above ``other`` on the same prompts."""
        paired = self.of(measure, method) - self.of(measure, other)
        return _mean(paired), *bootstrap(paired, level)

    def best(self, measure: str, exact: bool) -> str:
        """The method of the highest mean among the exact ones, or among the others."""
        exact = arguments.flag("exact", exact)
        if exact not in self.exact:
            raise InvalidValue(f"No method of this study is {'exact' if exact else 'anything but exact'}.")
        named = [m for m, e in zip(self.methods, self.exact, strict=True) if e is exact]
        return max(named, key=lambda m: np.nan_to_num(self.mean(measure, m), nan=-np.inf))

    def to_json(self) -> str:
        """The study as JSON, its values to six digits; NaN becomes null."""
        content = {**asdict(self), "values": {name: _rounded(value) for name, value in self.values.items()}}
        return json.dumps(content, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Faithfulness:
        """What ``to_json`` wrote. Raises EqlinError for anything else."""
        if not isinstance(text, str):
            arguments.wrong_type("text", text, "a text, as to_json gives one")
        try:
            content = json.loads(text)
            values = {name: np.array(value, dtype=float) for name, value in content.pop("values").items()}
            study = cls(**content, values=values)
            words, counts = [study.model, study.deletion, *study.methods, *study.kinds, *values], study.tokens
            shape = len(study.methods), len(counts)
            if not (
                all(isinstance(word, str) for word in words)
                and all(type(count) is int for count in counts)
                and all(type(yes) is bool for yes in (*study.exact, *study.chats))
                and all(value.shape == shape for value in values.values())
                and (len(study.exact), len(study.kinds)) == shape
                and len(study.chats) == len(counts)
            ):
                raise TypeError("fields")
            return study
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise EqlinError("This is no study of faithfulness, or it is damaged: make it again.") from error

    def only(self, kind: str) -> Faithfulness:
        """The same of the prompts of one kind."""
        if not isinstance(kind, str):
            arguments.wrong_type("kind", kind, "a text")
        chosen = [i for i, k in enumerate(self.kinds) if k == kind]
        return Faithfulness(
            self.model,
            self.deletion,
            self.methods,
            self.exact,
            [self.kinds[i] for i in chosen],
            [self.tokens[i] for i in chosen],
            {name: value[:, chosen] for name, value in self.values.items()},
            [self.chats[i] for i in chosen],
        )


def joined(parts: Sequence[Faithfulness]) -> Faithfulness:
    """Studies of the same methods on different prompts as one."""
    first = parts[0]
    if any((p.methods, p.model, p.deletion) != (first.methods, first.model, first.deletion) for p in parts):
        raise EqlinError("Only studies of one model with the same methods and deletion can be joined.")
    return Faithfulness(
        first.model,
        first.deletion,
        first.methods,
        first.exact,
        [k for p in parts for k in p.kinds],
        [t for p in parts for t in p.tokens],
        {name: np.concatenate([p.values[name] for p in parts], 1) for name in first.values},
        [c for p in parts for c in p.chats],
    )


def bootstrap(values: Float[Array, " n"], level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of the mean of those values that exist, over resampled prompts; NaN without any."""
    level = arguments.number("level", level, highest=1, above=0)
    there = values[np.isfinite(values)]
    if not len(there):
        return math.nan, math.nan
    draws = np.random.default_rng(_SEED).integers(0, len(there), (RESAMPLES, len(there)))
    low, high = np.quantile(there[draws].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _rounded(values: Float[Array, "methods prompts"]) -> list[list[float | None]]:
    return [[float(f"{v:.6g}") if math.isfinite(v) else None for v in row] for row in values.tolist()]


def _mean(values: Float[Array, " n"]) -> float:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else math.nan
