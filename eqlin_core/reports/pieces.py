"""A report as named pieces: what it is put together of, and what its reader compares piece by piece."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

# In front of every piece. Nothing inside one can hold it: texts are escaped, and JSON has no "<".
_MARK = "<!--eqlin:{}-->"
_SPLIT = re.compile(r"<!--eqlin:([a-z][a-z0-9 -]*)-->")
# Pieces of this kind hold numbers that are computed anew from the arrays, whose last digits depend on the processor.
COMPUTED = "chart "
_NUMBER = re.compile(r"[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_SPECIFICATION = re.compile(r'<script type="application/json"[^>]*>([^<]*)</script>')
# Of a number itself, and of the largest one that the chart draws: other orders of a sum differ by far less.
_RELATIVE, _OF_LARGEST = 1e-9, 1e-12


def joined(pieces: Mapping[str, str]) -> str:
    """The pieces as one text, each behind its mark."""
    return "".join(f"{_MARK.format(name)}{text}" for name, text in pieces.items())


def separated(text: str) -> dict[str, str]:
    """The pieces of such a text. Raises ValueError where anything stands outside them, or a name comes twice."""
    first, *rest = _SPLIT.split(text)
    names, texts = rest[::2], rest[1::2]
    if first or not names or len(set(names)) != len(names):
        raise ValueError("no pieces")
    return dict(zip(names, texts, strict=True))


def changed(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """The names of pieces that differ, are missing, or are too many; and whether they stand in another order."""
    names = [name for name in expected if name not in found or not _same(name, found[name], expected[name])]
    names += [name for name in found if name not in expected]
    if not names and list(found) != list(expected):
        return ["order"]
    return names


def _same(name: str, found: str, expected: str) -> bool:
    if found == expected:
        return True
    if not name.startswith(COMPUTED) or _NUMBER.split(found) != _NUMBER.split(expected):
        return False
    near = _OF_LARGEST * _largest_drawn(expected)
    numbers = zip(_NUMBER.findall(found), _NUMBER.findall(expected), strict=True)
    pairs = [(_value(a), _value(b)) for a, b in numbers if a != b]
    return all(abs(a - b) <= max(_RELATIVE * abs(b), near) for a, b in pairs)


def _largest_drawn(chart: str) -> float:
    """The largest number that a chart draws: of its JSON alone, since digits in a prompt's tokens are no numbers."""
    waiting, largest = [json.loads(text) for text in _SPECIFICATION.findall(chart)], 0.0
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list):
            waiting.extend(value.values() if isinstance(value, dict) else value)
        elif isinstance(value, int | float):
            largest = max(largest, abs(float(value)))
    return largest


def _value(text: str) -> float:
    return float(text.replace("−", "-"))
