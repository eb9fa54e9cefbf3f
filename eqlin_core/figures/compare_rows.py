"""The rows of two runs beside each other: what each stands for, in A and in B, and which of them dwarf the others."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from .labels import printed, token_label
from .layout import HOVER_WIDTH

LABEL_WIDTH = 12  # characters of a token
NOTHING = "–"  # where a run has no token
# One or two rows are not drawn to scale that are so many times as large as any other, and as the middle one of all.
CUT, CUT_MIDDLE = 2.5, 10.0


@dataclass(frozen=True)
class Line:
    """One row: its part of A's sum and of B's, None where a run has none, and what it changes by from A to B."""

    label: str
    said: str
    a: float | None
    b: float | None
    change: float
    is_step: bool = True  # of a token or the constant, neither for nor against where it is rounding

    @property
    def size(self) -> float:
        """The larger size in A and B."""
        return max(abs(x) for x in (self.a, self.b, 0.0) if x is not None)

    @property
    def hover(self) -> str:
        """What is said under the pointer."""
        parts = [f"{run} {printed(x, signed=True)}" for run, x in (("A", self.a), ("B", self.b)) if x is not None]
        return "<br>".join([self.said, *parts, f"change {printed(self.change, signed=True)}"])


def lines_of_parts(
    constants: tuple[float, float],
    terms: tuple[np.ndarray, np.ndarray],
    tokens: Sequence[tuple[str | None, str | None]],
    grouped: set[int],
) -> list[Line]:
    """The rows from above: constant, tokens in their order, the grouped ones together."""
    lines = [Line("<i>constant</i>", "constant: bias and baseline", *constants, constants[1] - constants[0])]
    for i, (places, pair) in enumerate(zip(positions(tokens), tokens, strict=True)):
        if i not in grouped:
            a, b = (None if math.isnan(x[i]) else float(x[i]) for x in terms)
            where = ", ".join(f"position {p} in {run}" for run, p in zip("AB", places, strict=True) if p is not None)
            said = f"{pair_label(pair, HOVER_WIDTH)}<br>{where}"
            label = pair_label(pair)
            if grouped:  # what stands between is not there
                label = f"{next(p for p in places if p is not None)} {label}"
            lines.append(Line(label, said, a, b, (b or 0.0) - (a or 0.0)))
    if grouped:
        name = f"{len(grouped)} other tokens"
        a, b = (math.fsum(float(x[i]) for i in grouped if not math.isnan(x[i])) for x in terms)
        lines.append(Line(f"<i>{name}</i>", name, a, b, b - a))
    return lines


def pair_label(pair: tuple[str | None, str | None], width: int = LABEL_WIDTH) -> str:
    """The token of both runs, or the way from A's to B's."""
    a, b = (NOTHING if token is None else token_label(token, width) for token in pair)
    return a if pair[0] == pair[1] else f"{a} → {b}"


def positions(tokens: Sequence[tuple[str | None, str | None]]) -> list[tuple[int | None, int | None]]:
    """The place of every aligned token in A and in B."""
    places: list[tuple[int | None, int | None]] = []
    a = b = 0
    for first, second in tokens:
        places.append((None if first is None else a, None if second is None else b))
        a, b = a + (first is not None), b + (second is not None)
    return places


def far_out(lines: Sequence[Line]) -> set[int]:
    """The one or two rows that dwarf all others, so that these would not be told from zero beside them."""
    order = sorted(range(len(lines)), key=lambda i: -lines[i].size)
    sizes = [lines[i].size for i in order]
    for count in (2, 1):
        if len(sizes) > count + 1 and sizes[count - 1] > max(CUT * sizes[count], CUT_MIDDLE * median(sizes)) > 0:
            return set(order[:count])
    return set()
