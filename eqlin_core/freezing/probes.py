"""What probes have said of modules: asked once for as long as a module is what it was.

The answer is kept beside the module, and holds while its weights are the same objects with nothing written into them
and its plain attributes have the same values.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_thread = threading.local()
_PLAIN = (bool, int, float, str, type(None))
_answers: weakref.WeakKeyDictionary[nn.Module, dict[Hashable, tuple[_State, Any]]] = weakref.WeakKeyDictionary()


class _State:
    """A module's own weights, by identity and version, vectors by their values too, and its plain attributes."""

    def __init__(self, module: nn.Module) -> None:
        self._weights = {name: _Weight(tensor) for name, tensor in _own(module)}
        self._attributes = _attributes(module)

    def holds(self, module: nn.Module) -> bool:
        """Whether the module is still in this state."""
        own = dict(_own(module))
        return (
            own.keys() == self._weights.keys()
            and self._attributes == _attributes(module)
            and all(weight.is_still(own[name]) for name, weight in self._weights.items())
        )


class _Weight:
    """One weight as it was: what is written through ``.data`` changes no version, so a norm's vector is compared."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._version, self._place = weakref.ref(tensor), tensor._version, tensor.data_ptr()
        self._values = tensor.detach().clone() if tensor.dim() <= 1 else None

    def is_still(self, tensor: Tensor) -> bool:
        """Whether this is the weight, with nothing written into it."""
        if self._tensor() is not tensor or self._version != tensor._version or self._place != tensor.data_ptr():
            return False
        if self._values is None:
            return True
        if self._values.dtype != tensor.dtype or self._values.shape != tensor.shape:
            return False
        doubts = getattr(_thread, "doubts", None)
        if doubts is None or tensor.device.type == "cpu":
            return torch.equal(self._values, tensor.detach())
        doubts.append((self._values != tensor.detach()).any())
        return True


def remembered(module: nn.Module, key: Hashable, probe: Callable[[], Any]) -> Any:
    """What ``probe()`` says of the module under this key: what it said before, while the module has not changed."""
    known = _answers.setdefault(module, {})
    if key in known:
        state, answer = known[key]
        if state.holds(module):
            return answer
    answer = probe()
    if _can_be_watched(module):
        known[key] = _State(module), answer
    return answer


@contextmanager
def gathered() -> Iterator[Callable[[], bool]]:
    """Within the context a device is not waited for at each vector that is compared.

    Answers are taken for good there, until the function that the context gives is asked whether one was not: then all
    are forgotten, and what was made of them has to be made again.
    """
    before, doubts = getattr(_thread, "doubts", None), []  # type: ignore[var-annotated]
    _thread.doubts = doubts

    def wrong() -> bool:
        if not doubts:
            return False
        found = any(torch.stack([doubt.to(doubts[0].device) for doubt in doubts]).tolist())
        if found:
            _answers.clear()
        return found

    try:
        yield wrong
    finally:
        _thread.doubts = before


def like(example: Tensor) -> Hashable:
    """What of an example input a probe's answer depends on."""
    shape = example.shape[1:] if example.dim() < 3 else (min(example.shape[1], 3), *example.shape[2:])
    return example.dtype, example.device, example.dim(), tuple(shape)


def _can_be_watched(module: nn.Module) -> bool:
    """Whether its weights tell when they change: those that are elsewhere, and those of inference mode, do not."""
    return not any(tensor.is_meta or tensor.is_inference() for _, tensor in _own(module))


def _own(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]


def _attributes(module: nn.Module) -> dict[str, Any]:
    """What else its forward pass may read: plain values, and by identity what replaced the pass itself."""
    return {
        name: value if isinstance(value, _PLAIN) else id(value)
        for name, value in vars(module).items()
        if isinstance(value, _PLAIN) or name == "forward"
    }
