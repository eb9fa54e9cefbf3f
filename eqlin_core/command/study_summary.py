"""A study of prompts as tables in the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eqlin_core.arguments import short
from eqlin_core.studies.reading import Study
from eqlin_core.studies.summary import summaries
from eqlin_core.studies.tables import name_of

_MOST_FAILURES = 5


def print_summary(study: Study, console: Console | None = None) -> None:
    """Print what a study says at a glance, and what failed, to the console, which is stdout unless given."""
    console = console or Console(highlight=False, emoji=False, markup=False)
    for summary in summaries(study):
        console.print(Text(summary.title))
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for head in summary.columns:
            table.add_column(head, justify="right", overflow="fold")
        for row in summary.rows:
            table.add_row(*map(_text, row))
        console.print(table)
    for key, sentence in list(study.failures.items())[:_MOST_FAILURES]:
        console.print(Text(f"{short(key)}: {sentence}"))
    if len(study.failures) > _MOST_FAILURES:
        console.print(Text(f"and {len(study.failures) - _MOST_FAILURES} more that failed, in the column error"))
    console.print(Text(f"{study.info['rows']} rows of prompts in {name_of(study.folder)}; eq.load_study reads them"))


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
