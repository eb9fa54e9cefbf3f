"""Facts in one line, as HTML: the name of each in grey, and its value; and text to be shown letter by letter."""

from __future__ import annotations

from html import escape
from typing import SupportsFloat

from eqlin_core.figures import format_number


def fact(name: str, value: str = "", meaning: str = "", beside: str = "") -> str:
    """One fact; ``meaning`` is shown under the pointer. All are text, except for ``beside``: HTML after the value."""
    title = f' title="{escape(meaning)}"' if meaning else ""
    return f'<span class="eq-fact"{title}><b>{escape(name)}</b> {escape(value)}{beside}</span>'


def signed(value: float) -> str:
    """A number with its sign and two decimals."""
    return f"{value:+.2f}".replace("-", "−")


def number_text(value: SupportsFloat) -> str:
    """A number to three significant digits, with a minus that is as wide as a plus."""
    return format_number(value).replace("-", "−")


def code(text: str) -> str:
    """Text that people bring along, as Markdown that shows it letter by letter."""
    return f"`{text.replace('`', ' ').strip()}`"


def strip_of(*facts: str) -> str:
    """The facts side by side, in as many lines as they need."""
    return f'<div class="eq-strip">{"".join(facts)}</div>'


def plain(text: str) -> str:
    """Text that people bring along, so that Markdown shows it as it is, on one line."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+-.!|~$:" else c for c in " ".join(text.split()))
