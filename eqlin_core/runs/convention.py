"""Which of the exact maps of one prompt is meant: two dials, how a gated product and how attention are split.

A product g u is a g held(u) + (1 - a) held(g) u for every share a of the gate's path, and attention's weights times
values are the same with a share c of the weights' own path. The map is exact at every setting; what its terms say
differs, so the setting is part of every result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict

from eqlin_core import arguments
from eqlin_core.errors import InvalidType, InvalidValue

Share = str | int | float

# The settings that have a name: the share of the path through the gate, and of the path through attention's weights.
GATED = {"up": 0.0, "half": 0.5, "gate": 1.0}
ATTENTION = {"held": 0.0, "half": 0.5, "live": 1.0}


class Dials(TypedDict):
    """The keywords by which functions take a setting of both dials."""

    gated_path: Share
    attention: Share


@dataclass(frozen=True)
class Convention:
    """The setting of both dials; ``published`` is the one of Golden 2025, which the engine takes unless told otherwise.

    ``gated_path``: "up" (the gate is held whole), "gate" (the other factor is), "half", or the share of the gate's
    path, 0 to 1. ``attention``: "held" (the weights are constants), "half", "live" (the values are), or the share of
    the weights' path. Numbers that have a name become it. Raises EqlinError for anything else.
    """

    gated_path: Share = "up"
    attention: Share = "held"

    def __post_init__(self) -> None:
        object.__setattr__(self, "gated_path", _named("gated_path", self.gated_path, GATED))
        object.__setattr__(self, "attention", _named("attention", self.attention, ATTENTION))

    @property
    def gate_share(self) -> float:
        """a: how much of a gated product goes by its gate."""
        return _share(self.gated_path, GATED)

    @property
    def weight_share(self) -> float:
        """c: how much of attention goes by its weights."""
        return _share(self.attention, ATTENTION)

    @property
    def keywords(self) -> Dials:
        """Both dials as keyword arguments of ``linearize`` and all that takes them."""
        return Dials(gated_path=self.gated_path, attention=self.attention)

    @property
    def published(self) -> bool:
        """Whether this is the published form: gates and attention weights held."""
        return self == PUBLISHED

    @property
    def words(self) -> str:
        """What people call it: ``up``; ``half``; ``half, attention half``; ``up, attention 0.3``."""
        attention = "" if self.attention == "held" else f", attention {share_text(self.attention)}"
        return share_text(self.gated_path) + attention


def share_text(share: Share) -> str:
    """A setting of a dial as text, which ``Convention`` reads back."""
    return share if isinstance(share, str) else f"{share:.6g}"


def _share(value: Share, names: dict[str, float]) -> float:
    return names[value] if isinstance(value, str) else float(value)


def _named(dial: str, value: Share, names: dict[str, float]) -> Share:
    """The name of a setting, or its number where it has none."""
    if isinstance(value, str) and value in names:
        return value
    share = _as_share(value)
    if not 0 <= share <= 1:
        known = ", ".join(map(repr, sorted(names, key=names.__getitem__)))
        kind = InvalidValue if isinstance(value, str) or arguments.as_number(value) is not None else InvalidType
        raise kind(f"{dial} is {known} or a share between 0 and 1, not {arguments.shown(value)}.")
    share = float(share_text(share))
    return next((name for name, known_share in names.items() if known_share == share), share)


def _as_share(value: object) -> float:
    """The number, or that which a text names; NaN where it is neither."""
    if not isinstance(value, str):
        found = arguments.as_number(value)
        return math.nan if found is None else found
    try:
        return float(value)
    except ValueError:
        return math.nan


PUBLISHED = Convention()
# Settings that a proof of exactness tries beside the published form: those with a name, and two odd ones.
PROVED = (
    Convention("gate"),
    Convention("half"),
    Convention("half", "half"),
    Convention(0.3, 0.7),
    Convention(0.7, 0.3),
)


def settings(gated: bool) -> list[Convention]:
    """The settings that a model is audited at, the published form first; without gated products one dial is left."""
    tried = PROVED if gated else [Convention(attention=c.attention) for c in PROVED]
    return list(dict.fromkeys([PUBLISHED, *tried]))
