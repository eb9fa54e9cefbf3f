"""How the modules of a model were frozen, by class and count: the table behind the word "exact"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LEAKS = "LEAKS"
# What eqlin_core.freezing notes for mixers and for a gated product, that alone or both with their shares.
ATTENTION = "attention weights held, values linear"
_VALUES, _CONVOLUTION = (
    "held, values linear",
    "B and C held, x linear",
)  # of recurrent mixers, and of short convolutions
_GATED = ("gate held whole, up linear", "up held, gate linear")


@dataclass(frozen=True)
class Treatment:
    """``count`` modules of one class that were frozen in one way; ``example`` is the name of the first of them."""

    class_name: str
    count: int
    how: str
    example: str

    @property
    def leaks(self) -> bool:
        """Whether these modules are not linear in the input although they are on its path."""
        return self.how.startswith(LEAKS)


def gated(rows: Iterable[Treatment]) -> bool:
    """Whether a gated MLP is among them, so that the dial of gated products gives another map at every setting."""
    return any(part in row.how for row in rows for part in _GATED)


def attends(rows: Iterable[Treatment]) -> bool:
    """Whether attention is among them, so that its dial gives another map at every setting."""
    return any(ATTENTION in row.how for row in rows)


def mixer(rows: Iterable[Treatment]) -> str:
    """What the model's blocks mix positions by, in a word: "attention", or "mixer" where that is not all of it."""
    others = (_VALUES in row.how.replace(ATTENTION, "") or _CONVOLUTION in row.how for row in rows)
    return "mixer" if any(others) else "attention"
