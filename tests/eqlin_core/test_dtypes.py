"""Float64 where a device has it, and on the CPU where it has none."""

from __future__ import annotations

import pytest
import torch

from eqlin_core import dtypes


def test_values_are_widened_where_they_are_or_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    there = torch.ones(3, dtype=torch.bfloat16, device="meta")
    assert dtypes.wide(there).device.type == "meta"
    monkeypatch.setattr(dtypes, "WITHOUT_FLOAT64", {"mps", "cpu"})
    assert not dtypes.has_float64(torch.device("cpu"))
    assert not dtypes.has_float64(torch.device("mps"))
    assert dtypes.has_float64(torch.device("cuda"))
    widened = dtypes.wide(torch.ones(3, dtype=torch.bfloat16))
    assert (widened.dtype, widened.device.type) == (torch.float64, "cpu")
