"""Every step of the engine gives the CPU's numbers on pretended devices, which refuse what real ones refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eqlin_core.audit.families import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ["linearize", "layers, forward", "layers, reverse", "layers one by one", "heads"]


def run(*arguments: str) -> str:
    """What the pretended devices print, in a process of their own."""
    command = [sys.executable, "-m", "tests.devices", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_an_apple_gpu_gives_the_numbers_of_the_cpu() -> None:
    lines = run("--on", "mps").splitlines()
    assert lines[-1] == "0 failed"
    assert len([line for line in lines if line.endswith(" ok")]) >= 70


@pytest.mark.slow  # in the suite one device is an Apple GPU, and two devices share a block
def test_so_do_one_gpu_and_two_devices() -> None:
    assert "0 failed" in run("--on", "cuda", "two")


def test_a_block_that_two_devices_share_has_its_own_layers() -> None:
    assert "0 failed" in run("--on", "two", "--family", "gpt_neox", "--step", *LAYERS)


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "llama"])
def test_so_does_every_family(family: str) -> None:
    assert "0 failed" in run("--on", "cuda", "mps", "two", "--family", family)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_so_does_every_precision(dtype: str) -> None:
    kinds = ["cuda", "two"] if dtype == "float64" else ["cuda", "mps", "two"]
    assert "0 failed" in run("--dtype", dtype, "--on", *kinds)
