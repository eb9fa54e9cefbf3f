"""The public names: where each lives, stated for Python and for type checkers, and both say the same."""

from __future__ import annotations

import ast
from pathlib import Path

import eqlin_core as eq


def test_type_checkers_and_python_find_the_same_names_in_the_same_rooms():
    tree = ast.parse(Path(eq.__file__).read_text(encoding="utf-8"))
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    said = {
        alias.name: (statement.module or "").removeprefix("eqlin_core.")
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert said == eq._HOME


def test_every_public_name_is_there_and_lives_where_it_is_said_to():
    for name in eq.__all__:
        value = getattr(eq, name)
        home = eq._HOME.get(name, "errors")
        assert value.__module__ == f"eqlin_core.{home}", name
    assert len(set(eq.__all__)) == len(eq.__all__)
