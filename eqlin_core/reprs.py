"""How the objects that a researcher holds print: their class and a few facts in one line, in a notebook as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

# (what it is, how the line says it): only the table shows the first.
Facts = Iterable[tuple[str, str]]


class ShortRepr:
    """Prints as ``Class(fact, fact, ...)``, never as the arrays that it holds; ``_facts`` must not compute for long."""

    def _facts(self) -> Facts:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(text for _, text in self._facts())})"

    def _repr_html_(self) -> str:
        return html_table(type(self).__name__, self._facts())


def html_table(title: str, facts: Facts) -> str:
    """The facts as an HTML table of names and values under a title."""
    rows = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th><td style="text-align: left">{escape(text)}</td></tr>'
        for name, text in facts
    )
    return f'<table><thead><tr><th colspan="2" style="text-align: left">{escape(title)}</th></tr></thead>{rows}</table>'


def error_text(exact: bool, error: float) -> str:
    """ "exact 1.2e-15", or "not exact 3.0e-03"."""
    return f"{'exact' if exact else 'not exact'} {error:.1e}"


def span(values: Sequence[float]) -> str:
    """ "2.99 to 63.9", or "63.9" of one value; three significant digits."""
    return " to ".join(dict.fromkeys(f"{end:.3g}" for end in (min(values), max(values))))


def counted(n: int, noun: str) -> str:
    """ "1 token", "7 tokens"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def excerpt(text: str, width: int = 40) -> str:
    """The text in quotes, at most so many characters of it."""
    return repr(text if len(text) <= width else text[: width - 1] + "…")
