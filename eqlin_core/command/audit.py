"""``eqlin audit``: the audit of ``python -m eqlin_core.audit``, by its own parser."""

from __future__ import annotations

from typing import Annotated

import typer


def audit(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[OPTIONS] MODEL", show_default=False)] = None,
) -> int:
    """Prove that a model's map is exact, or name the module that leaks ([bold]eqlin audit --help[/bold])."""
    from eqlin_core.audit.report import main  # noqa: PLC0415 - torch is slow to import

    return main(arguments or [], prog="eqlin audit")
