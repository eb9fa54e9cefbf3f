"""Reading what a file claims to hold: nothing is allocated that the file does not have, and nothing is believed.

An archive's members are neither packed nor locked, and lie within the file; an array's shape and type, which stand in
front of it, agree with the bytes behind; an object's fields are of the types that its class says, and sizes agree.
"""

from __future__ import annotations

import io
import math
import types
import typing
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, BinaryIO

import numpy as np

from eqlin_core.runs.kinds import check_agreement

# Bytes of an archive, and of the text in it.
MOST_BYTES, MOST_TEXT = 4 << 30, 256 << 20
_KINDS = "fiu"  # real numbers


class ArrayFile(Mapping[str, np.ndarray]):
    """The arrays in an ``.npz`` archive by name, each read and checked when it is asked for. Raises ValueError."""

    def __init__(self, file: BinaryIO) -> None:
        size = file.seek(0, io.SEEK_END)
        self._archive = zipfile.ZipFile(file)
        members = self._archive.infolist()
        if any(m.compress_type != zipfile.ZIP_STORED or m.flag_bits & 1 for m in members):
            raise ValueError("packed or locked")
        if any(m.file_size != m.compress_size for m in members) or sum(m.file_size for m in members) > size:
            raise ValueError("more than the file holds")
        self._members = {m.filename.removesuffix(".npy"): m for m in members}

    def __getitem__(self, name: str) -> np.ndarray:
        content = self._archive.read(self._members[name])
        file = io.BytesIO(content)
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, in_columns, dtype = read(file)
        count = math.prod(shape)
        if dtype.hasobject or dtype.kind not in _KINDS or any(size < 0 for size in shape):
            raise ValueError("no numbers")
        if count * dtype.itemsize != len(content) - file.tell():
            raise ValueError("another size")
        flat = np.frombuffer(content, dtype, count, file.tell())
        return flat.reshape(shape, order="F" if in_columns else "C").copy()

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def check_object(value: Any) -> None:
    """Raise ValueError unless an object, and all in it, has fields of the types and sizes that its class says."""
    sizes: dict[str, int] = {}
    hints = typing.get_type_hints(type(value))
    for field in fields(value):
        if not _fits(getattr(value, field.name), hints[field.name], sizes):
            raise ValueError(f"{type(value).__name__}.{field.name}")
    for name, size in sizes.items():
        listed = getattr(value, name, None)
        if isinstance(listed, list) and len(listed) != size:
            raise ValueError(f"{type(value).__name__}.{name}")
    check_agreement(value)


def _fits(value: Any, hint: Any, sizes: dict[str, int]) -> bool:
    """Whether a value is of the type that a hint says; ``sizes`` are those of the arrays' dimensions so far."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one, sizes) for one in inner)
    if origin is typing.Literal:
        return value in inner
    if origin in (list, tuple, dict):
        return isinstance(value, origin) and _all_fit(value, inner, sizes)
    if isinstance(dimensions := getattr(hint, "dim_str", None), str):
        return _is_array(value, dimensions, sizes)
    return _is_plain(value, hint) if isinstance(hint, type) else True


def _all_fit(value: Any, inner: tuple[Any, ...], sizes: dict[str, int]) -> bool:
    """The same of everything in a list, a tuple or a dictionary."""
    if isinstance(value, dict):
        return all(_fits(k, inner[0], sizes) and _fits(v, inner[1], sizes) for k, v in value.items())
    kinds = inner[:1] * len(value) if isinstance(value, list) or inner[1:] == (...,) else inner
    return len(kinds) == len(value) and all(_fits(v, kind, sizes) for v, kind in zip(value, kinds, strict=True))


def _is_plain(value: Any, kind: type) -> bool:
    if isinstance(value, bool) and kind is not bool:  # which Python counts as a whole number
        return False
    if not isinstance(value, int | float if kind is float else kind):
        return False
    if is_dataclass(value):
        check_object(value)
    return True


def _is_array(value: Any, dimensions: str, sizes: dict[str, int]) -> bool:
    names = dimensions.split()
    if not isinstance(value, np.ndarray) or value.ndim != len(names):
        return False
    return all(sizes.setdefault(name, size) == size for name, size in zip(names, value.shape, strict=True))
