"""A study of faithfulness as a table: every method, the best first, with intervals over prompts."""

from __future__ import annotations

import math

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eqlin_core.runs.faithfulness import AREA, RANK, RANK_REST, TRUTH_FIRST, Faithfulness

# Columns beside the rank agreement, where they were measured: their head and the measure.
_MORE = (
    ("without\nthe first", RANK_REST),
    ("drop 1", "drop 1"),
    ("drop\n20 %", "drop 20 %"),
    ("keep\n20 %", "keep 20 %"),
    ("area", AREA),
    ("truth\nfirst", TRUTH_FIRST),
)


def print_study(found: Faithfulness, console: Console | None = None) -> None:
    """Print the study to the console, which is stdout unless given."""
    console = console or Console(highlight=False, emoji=False, markup=False)
    spread = f"{min(found.tokens)} to {max(found.tokens)} tokens"
    what = "chats" if all(found.chats) else "prompts"
    console.print(Text(f"{found.model}, {len(found.tokens)} {what} of {spread}, deletion by {found.deletion}"))
    console.print(_table(found))
    console.print(
        Text(
            "rank: Spearman's correlation with leave-one-out, 95 % intervals over prompts; drop and keep: how far the "
            "log-probability falls with the highest deleted, or only these kept; * sums exactly to its target",
            style="dim",
        )
    )
    best, other = found.best(RANK, exact=True), _best_other(found)
    if other is not None:
        mean, low, high = found.difference(RANK, best, other)
        console.print(Text(f"{best}: {mean:+.2f} [{low:+.2f}, {high:+.2f}] above {other}, the best that is not exact"))


def _best_other(found: Faithfulness) -> str | None:
    """The method of the highest rank agreement that is neither exact nor leave-one-out itself."""
    named = [m for m, e in zip(found.methods[:-1], found.exact[:-1], strict=True) if not e]
    return max(named, key=lambda m: _sortable(found.mean(RANK, m)), default=None)


def _table(found: Faithfulness) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("method", overflow="fold")
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("95 %", no_wrap=True)
    columns = [(head, name) for head, name in _MORE if name in found.values and _exists(found, name)]
    for head, _ in columns:
        table.add_column(head, justify="right", no_wrap=True)
    exact = dict(zip(found.methods, found.exact, strict=True))
    for method in sorted(found.methods, key=lambda m: -_sortable(found.mean(RANK, m))):
        low, high = found.interval(RANK, method)
        numbers = [_number(found.mean(name, method)) for _, name in columns]
        table.add_row(
            f"{method}{' *' if exact[method] else ''}",
            _number(found.mean(RANK, method)),
            f"[{_number(low)}, {_number(high)}]",
            *numbers,
        )
    return table


def _exists(found: Faithfulness, name: str) -> bool:
    return any(not math.isnan(found.mean(name, method)) for method in found.methods)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _sortable(value: float) -> float:
    return -math.inf if math.isnan(value) else value
