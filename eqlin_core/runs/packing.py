"""A run as what JSON can say and the arrays beside it, and back: no code, and nothing but the classes of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from eqlin_core.runs.kept import KeptRun
from eqlin_core.runs.kinds import CLASSES

Arrays = Mapping[str, np.ndarray]
_CLASSES = {**CLASSES, KeptRun.__name__: KeptRun}


def packed(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """What JSON can say of a value; its arrays are put among ``arrays``."""
    if isinstance(value, np.ndarray):
        return _packed_array(value, arrays)
    if isinstance(value, bytes):
        return {"bytes": _placed(np.frombuffer(value, np.uint8), arrays)}
    if is_dataclass(value) and not isinstance(value, type):
        held = {f.name: packed(getattr(value, f.name), arrays) for f in fields(value)}
        return {"class": type(value).__name__, "fields": held}
    if isinstance(value, dict):  # by pairs: JSON has no keys but texts
        return {"dict": [[packed(k, arrays), packed(v, arrays)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        items = [packed(v, arrays) for v in value]
        return items if isinstance(value, list) else {"tuple": items}
    return value


def _packed_array(value: np.ndarray, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    # What was computed in float32 takes half the room in it, and comes back as it was.
    with np.errstate(over="ignore"):
        narrow = value.astype(np.float32) if value.dtype == np.float64 else value
    if np.array_equal(narrow, value, equal_nan=value.dtype.kind == "f"):
        return {"array": _placed(narrow, arrays), "dtype": value.dtype.name}
    return {"array": _placed(value, arrays)}


def _placed(array: np.ndarray, arrays: dict[str, np.ndarray]) -> str:
    """The name under which the file has this array; what is there to the last bit is not put there again."""
    for name, there in arrays.items():
        alike = there.dtype == array.dtype and there.shape == array.shape
        if alike and there.tobytes() == array.tobytes():
            return name
    arrays[name := f"array{len(arrays)}"] = array
    return name


def unpacked(value: Any, arrays: Arrays) -> Any:
    """The value again. Raises whatever a text that ``packed`` did not write makes of it."""
    if isinstance(value, list):
        return [unpacked(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    return next(read(value, arrays) for kind, read in _READ.items() if kind in value)


def _array(value: dict[str, Any], arrays: Arrays) -> np.ndarray:
    array = arrays[value["array"]]
    return array.astype(np.float64) if value.get("dtype") == "float64" else array


def _object(value: dict[str, Any], arrays: Arrays) -> Any:
    return _CLASSES[value["class"]](**{name: unpacked(v, arrays) for name, v in value["fields"].items()})


_READ: dict[str, Callable[[dict[str, Any], Arrays], Any]] = {
    "array": _array,
    "tuple": lambda value, arrays: tuple(unpacked(v, arrays) for v in value["tuple"]),
    "dict": lambda value, arrays: {unpacked(k, arrays): unpacked(v, arrays) for k, v in value["dict"]},
    "bytes": lambda value, arrays: arrays[value["bytes"]].tobytes(),
    "class": _object,
}
