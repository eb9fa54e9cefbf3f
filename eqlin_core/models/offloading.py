"""Weights that accelerate keeps in main memory or on the disk and brings to the device for one module's pass at a time.

A recorded graph would keep every weight that a reverse pass needs, and so the whole model where it does not fit. Here
the graph keeps the way to a weight instead, and the reverse pass brings it once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


@dataclass(frozen=True)
class Share:
    """What of a model one device computes: ``blocks`` of its blocks.

    ``brought_bytes`` of their weights are kept elsewhere, in main memory or on the disk, and brought for every pass.
    """

    device: torch.device
    blocks: int
    brought_bytes: int


def shares(blocks: nn.ModuleList, main: torch.device) -> list[Share]:
    """How the blocks of a model are spread over devices, in the order of the blocks; ``main`` where nothing says."""
    sizes: dict[torch.device, tuple[int, int]] = {}
    for block in blocks:
        parameters = list(block.parameters())
        device = next((p.device for p in parameters if not p.is_meta), None) or _execution_device(block) or main
        count, brought = sizes.get(device, (0, 0))
        sizes[device] = count + 1, brought + sum(p.numel() * p.element_size() for p in parameters if p.is_meta)
    return [Share(device, *of_it) for device, of_it in sizes.items()]


@contextmanager
def brought_again(model: nn.Module, unseen: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Within the context a graph keeps no weight that is brought for one pass: reverse passes bring it again.

    Weights are compared within ``unseen()``, so that whoever watches the pass does not take that for a part of it.
    """
    running: list[_Module] = []
    with ExitStack() as stack:
        away = [_Module(module, hook) for module in model.modules() if (hook := _offloading(module)) is not None]
        for module in away:
            enter, leave = _entering(running, module), _leaving(running)
            stack.callback(module.module.register_forward_pre_hook(enter).remove)
            stack.callback(module.module.register_forward_hook(leave).remove)
        if away:

            def packed(tensor: Tensor) -> Tensor | _Away:
                with unseen():
                    return _packed(running, tensor)

            stack.enter_context(saved_tensors_hooks(packed, _unpacked))
        yield


@dataclass(frozen=True)
class _Module:
    """A module whose weights are away, and accelerate's hook that brings them."""

    module: nn.Module
    hook: Any

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        return self.module.named_parameters(recurse=self.hook.place_submodules)


@dataclass(frozen=True)
class _Away:
    """A weight, or a view of one, that a graph needs and does not keep."""

    weights: Any  # accelerate's mapping from names to tensors
    name: str
    device: torch.device
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


def _packed(running: list[_Module], tensor: Tensor) -> Tensor | _Away:
    place = tensor.untyped_storage().data_ptr()
    for module in reversed(running):
        for name, weight in module.named_weights():
            if not weight.is_meta and weight.untyped_storage().data_ptr() == place:
                offset = int(tensor.storage_offset())
                weights = module.hook.weights_map
                return _Away(weights, name, tensor.device, tensor.dtype, tensor.size(), tensor.stride(), offset)
    return tensor


def _unpacked(kept: Tensor | _Away) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    weight = kept.weights[kept.name].to(kept.device, kept.dtype).contiguous()
    return weight.as_strided(kept.size, kept.stride, kept.offset)


def _entering(running: list[_Module], module: _Module) -> Callable[..., None]:
    return lambda *_: running.append(module)


def _leaving(running: list[_Module]) -> Callable[..., None]:
    def leave(*_: Any) -> None:
        running.pop()

    return leave


def _offloading(module: nn.Module) -> Any:
    """accelerate's hook that brings this module's weights; None where there is none."""
    return next((hook for hook in _hooks(module) if getattr(hook, "offload", False) and hook.weights_map), None)


def _execution_device(module: nn.Module) -> torch.device | None:
    for part in module.modules():
        for hook in _hooks(part):
            device = getattr(hook, "execution_device", None)
            if device is not None:
                return torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    return None


def _hooks(module: nn.Module) -> list[Any]:
    hook = getattr(module, "_hf_hook", None)
    return [] if hook is None else list(getattr(hook, "hooks", [hook]))
