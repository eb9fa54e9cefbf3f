"""Scratch files hold what they are given, and none is left when their process is gone."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import eqlin_core as eq
from eqlin_core.resources import scratch

HOLD = """
import sys, time, pathlib, torch
from eqlin_core.resources.scratch import scratch_tensor
if sys.argv[2] == "named":
    pathlib.Path.unlink = lambda self, missing_ok=False: None  # a system that keeps the names of open files
held = scratch_tensor((4, 1000), torch.float32, pathlib.Path(sys.argv[1]))
held.fill_(1)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_scratch_tensor_is_a_tensor_like_any_other(tmp_path: Path, dtype: torch.dtype) -> None:
    held = scratch.scratch_tensor((3, 5, 7), dtype, tmp_path)
    values = torch.randn(3, 5, 7).to(dtype)
    held[:, 1:4] = values[:, 1:4]
    assert held.dtype == dtype
    assert torch.equal(held[:, 1:4], values[:, 1:4])
    assert not held[:, 0].any()


def test_no_file_is_left_when_the_tensor_is_dropped(tmp_path: Path) -> None:
    held = scratch.scratch_tensor((10,), torch.float32, tmp_path)
    del held
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("system", ["unnamed", "named"])
def test_a_killed_run_leaves_no_file_after_the_next_start(tmp_path: Path, system: str) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path), system], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert len(list(tmp_path.iterdir())) == (1 if system == "named" else 0)
        scratch.sweep(tmp_path)
        assert len(list(tmp_path.iterdir())) == (1 if system == "named" else 0), "its process is still running"
        os.kill(process.pid, signal.SIGKILL)
    time.sleep(0.1)
    scratch.scratch_tensor((1,), torch.float32, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_gets_a_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, size: int) -> None:
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scratch, "_reserve", full)
    with pytest.raises(eq.EqlinError, match="the disk is full"):
        scratch.scratch_tensor((4,), torch.float32, tmp_path)
    assert not list(tmp_path.iterdir())
