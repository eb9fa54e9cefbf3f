"""What a page asks the worker: a computation, stated once, with the name under which equal questions share it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from pages.worker.engine import Engine
    from pages.worker.worker import Reporter

Answer = TypeVar("Answer")
Asked = ParamSpec("Asked")


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """One computation: ``work`` runs on the worker's thread, for everybody whose question has the same ``key``.

    ``label`` names the work to people ("the token's matrix"). An ``interactive`` question goes before the others; what
    is done ``beside`` computes nothing itself, as a download, and is in nobody's way.
    ``about``: what was asked for first, the request as a rule; long work about the same thing is done one by one.
    ``gives`` is the name of the answer's class.
    """

    key: tuple[Hashable, ...]
    label: str
    interactive: bool
    work: Callable[[Engine, Reporter], Answer]
    about: Hashable = ""
    gives: str = ""
    beside: bool = False


def question(
    label: str, *, interactive: bool = False, beside: bool = False
) -> Callable[[Callable[Concatenate[Engine, Reporter, Asked], Answer]], Callable[Asked, Question[Answer]]]:
    """Turn the function that does some work into the one that asks for it.

    The work is a function of the engine, the reporter and what was asked for, which is hashable and becomes the key
    together with the function's name. Called with what is asked for alone, it gives the Question. ``{name}`` in the
    label stands for the argument of that name.
    """

    def state(work: Callable[Concatenate[Engine, Reporter, Asked], Answer]) -> Callable[Asked, Question[Answer]]:
        signature = inspect.signature(work)
        name = f"{work.__module__}.{work.__name__}"

        @wraps(work)
        def ask(*args: Asked.args, **kwargs: Asked.kwargs) -> Question[Answer]:
            asked = signature.bind(None, None, *args, **kwargs)
            asked.apply_defaults()
            return Question(
                key=(name, *asked.args[2:], *asked.kwargs.items()),
                label=label.format_map(asked.arguments),
                interactive=interactive,
                work=lambda engine, progress: work(engine, progress, *args, **kwargs),
                about=next(iter(asked.args[2:]), name),
                gives=str(signature.return_annotation),
                beside=beside,
            )

        return ask

    return state
