"""Types and array shapes are checked while the tests run: jaxtyping's import hook, at a fraction of its cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import FunctionType
from typing import Any

import jaxtyping
from jaxtyping import install_import_hook

# An array's annotation ends with its dimensions in quotes, as in Float[Tensor, "tokens d"].
ARRAY = re.compile(r"""["']\]""")
_jaxtyped = jaxtyping.jaxtyped


def check_shapes(package: str) -> None:
    """From its import on, check every call of ``package``: the types of all arguments and results, and their shapes.

    jaxtyping binds the arguments of each call to compare the dimensions of arrays. Where a function names no array,
    there is nothing to compare, and beartype alone checks its types. Functions within functions are not checked.
    """
    jaxtyping.jaxtyped = _checked  # type: ignore[assignment]
    install_import_hook(package, "beartype.beartype")


def _checked(*, typechecker: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What stands before every function and class of the package; called with what jaxtyping's own is called with."""

    def decorate(checked: Any) -> Any:
        if "<locals>" in checked.__qualname__:  # made anew by every call, it would be prepared anew each time
            return checked
        if not isinstance(checked, FunctionType) or any(ARRAY.search(str(a)) for a in checked.__annotations__.values()):
            return _jaxtyped(checked, typechecker=typechecker)
        checked.__annotations__ = {n: _known(a, checked.__globals__) for n, a in checked.__annotations__.items()}
        return typechecker(checked)

    return decorate


def _known(annotation: Any, names: dict[str, Any]) -> Any:
    """The annotation itself; Any for one that only type checkers can read, as jaxtyping takes it."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, names)
    except Exception:
        return Any
