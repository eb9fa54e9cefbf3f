"""What the public functions take: each check names the argument, what it got, and what it takes.

Every public function checks its arguments here, before anything else happens, and what is inside trusts them. Torch and
NumPy are not imported for it: what no torch has made is no tensor.
"""

from __future__ import annotations

import math
import operator
import os
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from eqlin_core.errors import InvalidType, InvalidValue

T = TypeVar("T")

# Of a value, in a message; and how many elements of a list are taken, whatever it is a list of.
_SHOWN = 60
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHOWN
_MOST = 10_000_000


def shown(value: object) -> str:
    """The value as a message shows it: in one short line, whatever it is."""
    if is_tensor(value):
        return f"a tensor of shape {list(value.shape)} in {str(value.dtype).removeprefix('torch.')}"  # type: ignore[attr-defined]
    kind = type(value)
    if is_of_numpy(value, "ndarray") and value.ndim:  # type: ignore[attr-defined]
        return f"an array of shape {list(value.shape)} in {value.dtype}"  # type: ignore[attr-defined]
    if kind is int and abs(value) >= 10**20:  # type: ignore[arg-type]
        return "a whole number of more than 20 digits"
    try:
        text = _SHORT.repr(value)
    except Exception:  # whatever its own code does
        return f"a {kind.__name__}"
    return short(text)


def short(text: str, most: int = _SHOWN) -> str:
    """A text as one line of a message takes it: what cannot be printed left out, and no longer than ``most``."""
    text = "".join(c if c.isprintable() else " " for c in text[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"


def wrong_type(name: str, value: object, takes: str) -> NoReturn:
    """Raise that the argument ``name`` is of another type than what it ``takes``."""
    raise InvalidType(f"{name} is {takes}, not {shown(value)}.")


def wrong_value(name: str, value: object, takes: str) -> NoReturn:
    """Raise that the argument ``name`` has another value than one that it ``takes``."""
    raise InvalidValue(f"{name} is {takes}, not {shown(value)}.")


# ---- numbers ---------------------------------------------------------------------------------------------------------


def whole(name: str, value: object, lowest: int | None = None, highest: int | None = None, of: str = "") -> int:
    """A whole number, of Python, NumPy or a tensor, between two bounds; neither 2.0 nor True is one.

    ``of`` says what the bounds come from.
    """
    if type(value) is int and (lowest is None or value >= lowest) and (highest is None or value <= highest):
        return value
    if lowest is None and highest is None:
        takes = "a whole number"
    elif highest is None:
        takes = f"a whole number from {lowest} on"
    else:
        takes = f"a whole number from {lowest} to {highest}"
    takes += f" ({of})" if of else ""
    found = as_whole(value)
    if found is None:
        wrong_type(name, value, takes)
    if (lowest is not None and found < lowest) or (highest is not None and found > highest):
        wrong_value(name, value, takes)
    return found


def as_whole(value: object) -> int | None:
    """The whole number that a value is, None where it is something else."""
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool") or getattr(value, "is_meta", False):
        return None
    if getattr(value, "ndim", 0):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def position(name: str, value: object, count: int, of: str) -> int:
    """A place among ``count``, from 0 on or backwards from -1; ``of`` says whose: "the prompt has 7 tokens"."""
    found = as_whole(value)
    if found is None:
        wrong_type(name, value, f"a whole number ({of})")
    if not -count <= found < count:
        raise InvalidValue(f"{name[:1].upper()}{name[1:]} {shown(value)} does not exist: {of}.")
    return found


def number(
    name: str,
    value: object,
    lowest: float | int = -math.inf,
    highest: float | int = math.inf,
    *,
    above: float | int = -math.inf,
) -> float:
    """A finite number within two bounds, and above a third; NaN, an infinity and True are none."""
    bounds = [f"above {above:g}"] if above > -math.inf else []
    bounds += [f"at least {lowest:g}"] if lowest > -math.inf else []
    bounds += [f"at most {highest:g}"] if highest < math.inf else []
    takes = f"a number {' and '.join(bounds)}" if bounds else "a finite number"
    found = as_number(value)
    if found is None:
        wrong_type(name, value, takes)
    if not math.isfinite(found) or not lowest <= found <= highest or found <= above:
        wrong_value(name, value, takes)
    return found


def as_number(value: object) -> float | None:
    """The floating-point number that a value is, NaN and the infinities among them; None where it is something else."""
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        return None
    if is_tensor(value):
        of_one = value.ndim == 0 and not value.is_meta and not value.is_complex()  # type: ignore[attr-defined]
        return float(value) if of_one else None  # type: ignore[arg-type]
    if not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def budget(name: str, value: object) -> int | None:
    """A number of bytes, at least one; None where nothing bounds them."""
    return None if value is None else whole(name, value, 1, of="bytes")


def seed(name: str, value: object) -> int:
    """A seed of random numbers: 64 bits."""
    return whole(name, value, 0, 2**63 - 1)


# ---- words -----------------------------------------------------------------------------------------------------------


def text(name: str, value: object) -> str:
    """A text that can be written down: no half of a surrogate pair, which no tokenizer and no file takes."""
    if not isinstance(value, str):
        wrong_type(name, value, "a text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidValue(
            f"{name} cannot be encoded: character {error.start} is half of a surrogate pair "
            f"(U+{ord(value[error.start]):04X}); take it out."
        ) from None
    return value


def choice(name: str, value: object, choices: Iterable[str]) -> str:
    """One of a few words."""
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        takes = " or ".join([", ".join(map(repr, known[:-1])), repr(known[-1])]) if known[1:] else repr(known[0])
        (wrong_value if isinstance(value, str) else wrong_type)(name, value, takes)
    return value


def flag(name: str, value: object) -> bool:
    """True or False, and nothing that merely counts as either."""
    if isinstance(value, bool) or is_of_numpy(value, "bool_"):
        return bool(value)
    wrong_type(name, value, "True or False")


def path(name: str, value: object) -> Path:
    """The path of a file or folder, which need not be there: a text or a path that the system can be asked for."""
    takes = "a path (a text or a pathlib.Path)"
    if not isinstance(value, str | os.PathLike):
        wrong_type(name, value, takes)
    try:
        found = os.fspath(value)
        if isinstance(found, str) and found and "\0" not in found:
            os.fsencode(found)
            return Path(found)
    except Exception:  # whatever its own code does
        pass
    wrong_value(name, value, takes)


# ---- objects ---------------------------------------------------------------------------------------------------------


def instance(name: str, value: object, kind: type[T] | tuple[type[T], ...], takes: str) -> T:
    """An object of a class; ``takes`` says of which, and where one comes from."""
    if not isinstance(value, kind):
        wrong_type(name, value, takes)
    return value


def called(name: str, value: Any, *, shows: bool = False) -> Any:
    """A function that is called on the way, or None; with ``shows`` also True (a bar is drawn) and False."""
    if value is None or (shows and isinstance(value, bool)):
        return value
    if not callable(value) or isinstance(value, type):
        wrong_type(name, value, f"a function{', True, False' if shows else ''} or None")
    return value


def several(name: str, value: Any, takes: str, *, least: int = 0) -> list[Any]:
    """The elements of a list, an array or anything else with a length and an order; a text is none."""
    if isinstance(value, str | bytes | bytearray | Mapping):
        wrong_type(name, value, takes)
    if hasattr(value, "tolist") and hasattr(value, "shape"):  # of NumPy or torch
        if len(value.shape) != 1 or getattr(value, "is_meta", False) or is_sparse(value):
            wrong_type(name, value, takes)
        value = value.tolist()
    if not isinstance(value, Iterable) or isinstance(value, type):
        wrong_type(name, value, takes)
    found: list[Any] = []
    for element in value:
        if len(found) >= _MOST:
            wrong_value(name, value, f"{takes}, at most {_MOST:,}")
        found.append(element)
    if len(found) < least:
        wrong_value(name, value, takes)
    return found


# ---- arrays and tensors ----------------------------------------------------------------------------------------------


def is_tensor(value: object) -> bool:
    """Whether a value is a tensor of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_of_numpy(value: object, kind: str) -> bool:
    """Whether a value is of this type of NumPy's."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, getattr(numpy, kind))


def is_sparse(value: Any) -> bool:
    """Whether a tensor does not hold every number in its place."""
    return is_tensor(value) and str(value.layout) != "torch.strided"


def tensor(name: str, value: Any, takes: str, fits: Callable[[Sequence[int]], bool]) -> Any:
    """A dense tensor of real numbers whose shape ``fits``; ``takes`` says which one does: "[..., 576]"."""
    takes = f"a tensor {takes} of real numbers"
    if not is_tensor(value) or value.is_complex() or value.is_meta or is_sparse(value) or value.is_quantized:
        wrong_type(name, value, takes)
    if str(value.dtype) == "torch.bool":
        wrong_type(name, value, takes)
    if not fits(tuple(value.shape)):
        wrong_value(name, value, takes)
    return value


def array(name: str, value: Any, shape: tuple[int, ...]) -> Any:
    """A NumPy array of real numbers, or what becomes one, of this shape."""
    takes = f"an array {list(shape)} of real numbers"
    found = _real(name, value, takes)
    if found.shape != shape:
        wrong_value(name, value, takes)
    return found


def columns(name: str, value: Any, length: int | None = None) -> Any:
    """A NumPy array [length, m] in float64, or what becomes one: at least one column, and every number finite."""
    takes = f"an array [{'d' if length is None else length}, m] of finite real numbers"
    found = _real(name, value, takes)
    if found.ndim != 2 or 0 in found.shape or length not in (None, len(found)):
        wrong_value(name, value, takes)
    found = found.astype("float64")
    if not abs(found).max() < math.inf:
        wrong_value(name, value, takes)
    return found


def _real(name: str, value: Any, takes: str) -> Any:
    import numpy as np  # noqa: PLC0415 - a help text does not wait for it

    try:
        found = np.asarray(value)
    except Exception:  # whatever its own code does
        wrong_type(name, value, takes)
    if found.dtype.kind not in "fiu":
        wrong_type(name, value, takes)
    return found


def rows(name: str, value: Any, width: int) -> Any:
    """A tensor [m, width]: vectors, one a row."""
    return tensor(name, value, f"[m, {width}]", lambda shape: len(shape) == 2 and shape[1] == width)


def vectors(name: str, value: Any, width: int) -> Any:
    """A tensor [..., width]: one vector, or any batch of them."""
    return tensor(name, value, f"[..., {width}]", lambda shape: shape[-1:] == (width,))
