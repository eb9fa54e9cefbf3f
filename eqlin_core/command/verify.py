"""``eqlin verify``: the run in a report, or in a file of ``eqlin run --save``, computed again and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    file: Annotated[Path, typer.Argument(help="A report, or a file of eqlin run --save.", show_default=False)],
    model: Annotated[
        str | None, typer.Option(help="Where the model lies, if not under the name that the file says.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    numbers: Annotated[
        bool,
        typer.Option("--numbers", help="Only the runs' numbers, for a report that another version of eqlin wrote."),
    ] = False,
) -> int:
    """Compute a saved run again, with the model that it names, and compare every number; nothing in the file is run.

    Exit status: 0 everything agrees, 1 something differs, which is named, 2 nothing could be compared; 130 interrupted.
    """
    # A help text waits for none of these.
    from eqlin_core.command.recomputed import Found, recomputed  # noqa: PLC0415
    from eqlin_core.command.verify_table import print_found  # noqa: PLC0415

    found: Found = recomputed(file, model, device, numbers_only=numbers)
    print_found(found)
    return 0 if found.agrees else 1
