"""``python -m tests.gpu`` on a CUDA device where there is one, and its own code on the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What it prints, in a process of its own."""
    command = [sys.executable, "-m", "tests.gpu", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_has_the_numbers_the_limits_and_the_speed_that_it_should() -> None:
    done = run()
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.mark.slow
def test_its_checks_run_through_on_the_cpu_with_tiny_models() -> None:
    done = run("--device", "cpu", "--tiny")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) == (2 + 6) + (2 + 5)
    assert "FAILED" not in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_where_there_is_no_gpu_it_says_that_nothing_was_tried() -> None:
    done = run()
    assert done.returncode == 0
    assert "no CUDA device here, so nothing was tried" in done.stdout
