"""Where the checks run and how much of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

import eqlin_core as eq
from eqlin_core.audit.families import FAMILIES, tiny_model

# Relative to the largest number of a result: what two devices round apart, in passes and in what is summed of them.
ALIKE = {"float64": 1e-9, "float32": 5e-4, "bfloat16": 8e-2, "float16": 2e-2}
# Of a float64 model that takes norms or the angles of positions in float32, as most of transformers' do: a CPU and an
# H200 were up to 4e-7 apart in contributions, up to 8e-6 in what is a difference of results. These take neither.
ROUNDED = 2e-5
UNROUNDED = ("gpt2", "opt")


def alike(dtype: str, family: str) -> float:
    """How far apart the numbers of two devices may lie."""
    return ROUNDED if dtype == "float64" and family not in UNROUNDED else ALIKE[dtype]


@dataclass(frozen=True)
class Setting:
    """The device that is tried, and whether on tiny models alone, so that it takes a minute on a CPU."""

    device: torch.device
    tiny: bool

    @property
    def families(self) -> list[str]:
        """Those that are compared."""
        return ["llama", "gpt2"] if self.tiny else list(FAMILIES)

    @property
    def dtypes(self) -> list[str]:
        """The precisions that the device has, of these."""
        return ["float64", "bfloat16"] if self.tiny else [d for d in ALIKE if d != "float64" or self.has_float64]

    @property
    def has_float64(self) -> bool:
        """Whether it computes in float64."""
        return self.device.type != "mps"

    def model(self, family: str, dtype: str) -> eq.LanguageModel:
        """A tiny model on the device."""
        lm = tiny_model(family, getattr(torch, dtype))
        lm.model.to(self.device)
        return lm

    def wait(self) -> None:
        """Until what is queued is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def allocated(self) -> int:
        """Bytes that tensors hold on it; on a CPU nobody counts them."""
        if self.device.type == "cuda":
            return torch.cuda.memory_allocated(self.device)
        return torch.mps.current_allocated_memory() if self.device.type == "mps" else 0


Check = Callable[[Setting], str]
