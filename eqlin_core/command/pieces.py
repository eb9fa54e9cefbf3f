"""What the tables of a run share: how they are drawn, how a token is written, and the verdict."""

from __future__ import annotations

from rich import box
from rich.style import Style
from rich.table import Table
from rich.text import Text

from eqlin_core.figures.labels import format_error, visible_token
from eqlin_core.runs.exactness import Exactness

BAD = Style(color="red", bold=True)
FAINT = Style(dim=True)


def titled_table(title: str) -> Table:
    """An empty table under its title."""
    shown = Text(f"\n{title}", Style(bold=True))
    return Table(title=shown, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)


def token_text(token: str) -> Text:
    """A token literally, with visible spaces."""
    return Text(visible_token(token))


def verdict(exactness: Exactness, bounds: tuple[float, float]) -> Text:
    """Whether a map is exact, by both errors and their bounds, and what leaks."""
    text = Text("exact" if exactness.exact else "NOT EXACT", "" if exactness.exact else BAD)
    text.append(f" in {exactness.arithmetic}" if exactness.products != "ieee" else "", Style())
    text.append(
        f": reconstruction {format_error(exactness.reconstruction)} (bound {bounds[0]:.0e}), "
        f"forward {format_error(exactness.forward)} (bound {bounds[1]:.0e})",
        Style(),
    )
    for leak in exactness.leaks:
        text.append(f"\nleak: {leak}", BAD)
    return text
