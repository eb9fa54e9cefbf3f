"""What ``eqlin verify`` prints: what was compared, how far it is apart, and a sentence at the end."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from eqlin_core.command.recomputed import Found, Verified
from eqlin_core.figures.labels import format_error, visible_token
from eqlin_core.runs.verification import Check

_BAD, _FAINT = Style(color="red", bold=True), Style(dim=True)
_SAID = 160  # characters of what differs


def print_found(found: Found, console: Console | None = None) -> None:
    """Print what was found to the console, which is stdout unless given."""
    console = console or Console(highlight=False, emoji=False, markup=False)
    for verified in found.runs:
        console.print(_table(verified))
    for change in found.changes:
        console.print(Text(change, _BAD))
    if found.page and not found.changes:
        console.print("The page shows what its runs say.")
    console.print(Text(*_verdict(found)))


def _table(verified: Verified) -> Table:
    key = verified.run.key
    title = f"\n{verified.name}: {key.model}, {key.dtype}, map {key.convention.words}, {len(key.token_ids)} tokens"
    table = Table(
        title=Text(title, Style(bold=True)), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    table.add_column("compared", overflow="fold")
    table.add_column("difference", justify="right", no_wrap=True)
    table.add_column("tolerance", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    same = [check for check in verified.checks if check.tolerance == 0 and check.agrees]
    if same:
        table.add_row(", ".join(check.what for check in same), "", "equal", "agrees")
    for check in [check for check in verified.checks if check not in same]:
        table.add_row(check.what, *_numbers(check), _word(check))
    table.caption = Text("of one number, in units of its row's root mean square", _FAINT)
    table.caption_justify = "left"
    return table


def _numbers(check: Check) -> tuple[str, str]:
    if check.tolerance == 0:
        return "", "equal"
    return format_error(check.difference), format_error(check.tolerance)


def _word(check: Check) -> Text:
    if check.agrees:
        return Text("agrees")
    said = visible_token(check.said, _SAID).replace("·", " ")
    return Text(f"DIFFERS: {said}" if said else "DIFFERS", _BAD)


def _verdict(found: Found) -> tuple[str, Style]:
    wrong = [f"{run.name}: {check.what}" for run in found.runs for check in run.checks if not check.agrees]
    if found.agrees:
        return (
            f"Verified: all that {found.file} holds of the model agrees, computed again.",
            Style(),
        )
    if wrong:
        return f"NOT VERIFIED: {len(wrong)} of what was computed again differ ({', '.join(wrong)}).", _BAD
    return f"NOT VERIFIED: the runs agree, but {found.file} is not as eqlin here would write it.", _BAD
