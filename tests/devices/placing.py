"""A model on a pretended device, or spread over two as accelerate spreads one."""

from __future__ import annotations

import torch
from torch import nn

from eqlin_core import LanguageModel
from eqlin_core.models.sites import find_layers
from tests.devices.pretended import CPU, NAME, Pretended


def place(device: Pretended, lm: LanguageModel, *, two: bool) -> None:
    """All of it on the pretended device; or, of ``two``, what lies behind the first half of its blocks on the CPU.

    torch has a name for one foreign device only, so the CPU stands for the second: what mixes the two is refused.
    """
    if two:
        _spread(device, lm)
    else:
        device.take([lm.model])


def _spread(device: Pretended, lm: LanguageModel) -> None:
    """By accelerate's hooks, which take what a module is given to where its weights are."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    decoder = lm.decoder
    blocks = list(find_layers(decoder, lm.n_layers))
    half = len(blocks) // 2
    inside = {m for block in blocks for m in block.modules()}
    seen_blocks = False
    before, after = blocks[:half], blocks[half:]
    for module in decoder.modules():  # in the order of the registration: embeddings, blocks, final norm
        if module in inside:
            seen_blocks = True
        elif _has_own(module) or _rotary(module):
            (after if seen_blocks and not _rotary(module) else before).append(module)
    known = {*inside, *before, *after, *decoder.modules()}
    after += [m for m in lm.model.modules() if m not in known and _has_own(m)]  # the head
    device.take(before)
    for group, where in ((before, torch.device(NAME, 0)), (after, CPU)):
        for module in {m: None for given in group for m in given.modules() if m in blocks or _has_own(m) or _rotary(m)}:
            hook = AlignDevicesHook(execution_device=where, io_same_device=False, place_submodules=False)
            add_hook_to_module(module, hook)
    add_hook_to_module(lm.model, AlignDevicesHook(execution_device=torch.device(NAME, 0), io_same_device=True))


def _has_own(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))


def _rotary(module: nn.Module) -> bool:
    return "Rotary" in type(module).__name__
