"""A view as code: the lines of Python that compute what a page shows, and the same as a notebook."""

from __future__ import annotations

import json
from typing import Any

from eqlin_core import arguments
from eqlin_core.reports.cells import cells
from eqlin_core.reports.view import View
from eqlin_core.version import __version__


def page_code(view: View) -> str:
    """Python that computes the numbers of a page with eqlin's public names; the same text for the same view."""
    _check(view)
    parts = ["\n".join([f"# {title}", *lines]) for title, lines in cells(view)]
    return "\n\n".join(parts) + "\n"


def page_notebook(view: View) -> str:
    """The same as a Jupyter notebook (nbformat 4.5, JSON), which also shows the charts."""
    _check(view)
    title = f"# eqlin, page {view.page.capitalize()}\n\nWritten by eqlin {__version__}."
    made = [_notebook_cell(0, "markdown", title)]
    for about, lines in cells(view):
        shown = [f"{line.split(' = ')[0]}.figure.show()" for line in lines if " = figures." in line]
        made.append(_notebook_cell(len(made), "code", "\n".join([f"# {about}", *lines, *shown])))
    return json.dumps(
        {
            "cells": made,
            "metadata": {
                "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                "language_info": {"name": "python"},
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        },
        indent=1,
    )


def _notebook_cell(number: int, kind: str, text: str) -> dict[str, Any]:
    cell: dict[str, Any] = {
        "cell_type": kind,
        "id": f"cell-{number}",
        "metadata": {},
        "source": text.splitlines(keepends=True),
    }
    return cell if kind == "markdown" else cell | {"execution_count": None, "outputs": []}


def _check(view: Any) -> None:
    arguments.instance("view", view, View, "a View")
