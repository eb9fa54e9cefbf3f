"""Stand-ins for what a replay computes and nobody reads: queries, keys and gates, whose values are held.

They have a shape and no values, and so has whatever is made of them. Where a value is asked for all the same, the
replay has to be run without them.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, no_type_check

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

# "__iadd__" and the like: what begins so and is an operator without the i.
_IN_PLACE = {name for name in dir(Tensor) if name.startswith("__i") and hasattr(Tensor, f"__{name[3:]}")}
_SIMPLE = (int, float, bool, str, type(None), torch.dtype)
_NO_VALUES = (NotImplementedError, RuntimeError, ValueError)


class Read(Exception):
    """A value is asked for that was said to be unread."""


class Unread(Tensor):
    """A tensor without values. Its shape can be asked for; functions of it are for ``StandIns``."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, like: Tensor, device: torch.device) -> Unread:
        """Of the shape, order and type of ``like``, as if it were on ``device``."""
        made: Unread = Tensor._make_wrapper_subclass(
            cls,
            like.shape,
            strides=like.stride(),
            storage_offset=like.storage_offset(),
            dtype=like.dtype,
            layout=like.layout,
            device=device,
        )
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise Read(f"{func} reads it.")

    def tolist(self) -> Any:
        """There are no values."""
        raise Read("Its values are asked for.")

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"Unread({tuple(self.shape)}, {self.dtype})"


class StandIns:
    """The stand-ins of one frozen network, each made once: what a function makes of them is looked up."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def of_shape(self, shape: tuple[int, ...], like: Tensor) -> Unread:
        """One of this shape, of the type and on the device of ``like``."""
        key = (shape, like.dtype, like.device)
        if key not in self._made:
            self._made[key] = Unread(torch.empty(shape, dtype=like.dtype, device="meta"), like.device)
        found: Unread = self._made[key]
        return found

    @no_type_check  # runs for every function of a pass: checking it would take longer than the pass
    def after(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """What the function makes of arguments some of which are stand-ins. Raises Read where it needs values."""
        if name == "__setitem__" or name in _IN_PLACE or (name[-1:] == "_" and name[:2] != "__"):
            if type(args[0]) is not Unread:
                raise Read(f"{name} writes it into what is read.")
            return None if name == "__setitem__" else args[0]
        key = (func, *map(_key, args), *((k, _key(v)) for k, v in kwargs.items()))
        if key not in self._made:
            self._made[key] = _inferred(func, args, kwargs)
        found = self._made[key]
        return list(found) if type(found) is list else found


@no_type_check
def any_unread(args: Any, kwargs: Any) -> bool:
    """Whether a stand-in is among the arguments of a function, or in a list among them."""
    for value in args if not kwargs else (*args, *kwargs.values()):
        kind = type(value)
        if kind is Unread or (kind in (list, tuple) and any(type(part) is Unread for part in value)):
            return True
    return False


def _inferred(func: Any, args: Any, kwargs: Any) -> Any:
    device = next(t.device for t in torch.utils._pytree.tree_leaves((args, kwargs)) if type(t) is Unread)

    def shape_of(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")

    shapes, named = tree_map(shape_of, (args, kwargs))
    if "out" in named:
        raise Read("It is written into what is read.")
    if named.get("device") is not None:
        device, named = torch.device(named["device"]), {**named, "device": "meta"}
    with torch._C.DisableTorchFunction():
        try:
            out = func(*shapes, **named)
        except _NO_VALUES as error:
            raise Read(str(error)) from error
    return tree_map(lambda t: Unread(t, device) if isinstance(t, Tensor) else t, out)


@no_type_check
def _key(value: Any) -> Hashable:
    kind = type(value)
    if kind is Unread:
        return id(value)  # it lives as long as what knows it
    if kind in _SIMPLE:
        return kind, value
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype
    if kind in (list, tuple):
        return kind, *map(_key, value)
    return repr(value)
