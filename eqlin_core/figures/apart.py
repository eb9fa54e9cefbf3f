"""Two panels beside each other: what stands apart at the left on a scale of its own, and all the rest."""

from typing import Any

from .layout import BAR, FEWEST_SLOTS

GAP = 0.1  # of the figure's width, where the axis of the main panel is
NARROWEST, WIDEST = 0.07, 0.25  # of the figure's width, what stands apart
FEWEST_TOKENS = 3  # with fewer nothing stands apart
APART: dict[str, Any] = {"xaxis": "x2", "yaxis": "y2"}  # the axes of a trace at the left
OWN_SCALE = "own scale"


def panels(apart: int, rest: int) -> tuple[list[float], list[float]]:
    """The domains of the left and of the main x axis, so that bars are about as wide in both."""
    wanted = apart / (apart + max(rest, FEWEST_SLOTS)) * (1 - GAP)
    share = min(max(wanted, NARROWEST * apart), WIDEST)
    return [0.0, share], [share + GAP, 1.0]


def apart_range(count: int) -> list[float]:
    """The ends of the left x axis with a bar at 0, 1, ..., count - 1."""
    return [-1 + BAR / 2, count - BAR / 2]
