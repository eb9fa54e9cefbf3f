"""``python -m tests.devices``: the engine's steps on a pretended device, compared with the CPU; nonzero if one differs.

It is a process of its own because autograd's thread for the device ends the process that has one.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback

import torch

import eqlin_core as eq
from eqlin_core.audit.families import FAMILIES, tiny_model, tiny_prompt
from tests.devices.checks import check_the_device
from tests.devices.placing import place
from tests.devices.pretended import Pretended, register
from tests.devices.steps import farthest, run_steps

# Devices round as the CPU does here; what is cut at a tolerance may be cut elsewhere.
_ALIKE = {"float64": 1e-9, "float32": 2e-4, "bfloat16": 5e-2, "float16": 1e-2}


def main() -> int:
    """How many steps failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on", choices=["cuda", "mps", "two"], nargs="+", default=["cuda"])
    parser.add_argument("--family", nargs="+", default=["llama"], help="names of families, or all")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--step", nargs="+", default=[], help="only these steps")
    parser.add_argument("--trace", action="store_true", help="print where a step fails")
    asked = parser.parse_args()
    register()
    check_the_device()
    failed = check_the_budget()
    for name in list(FAMILIES) if asked.family == ["all"] else asked.family:
        ids = tiny_prompt()
        expected = dict(run_steps(tiny_model(name, getattr(torch, asked.dtype)), ids, asked.step))
        for kind in asked.on:
            lm = tiny_model(name, getattr(torch, asked.dtype))
            with Pretended("mps" if kind == "mps" else "cuda") as device:
                place(device, lm, two=kind == "two")
                for step, found in run_steps(lm, ids, asked.step):
                    said = _difference(found, expected[step], _ALIKE[asked.dtype]) or _loose(device)
                    device.reset()
                    failed += said is not None
                    print(f"{name:12} {kind:5} {step:26} {said or 'ok'}", flush=True)
                    if asked.trace and isinstance(found, Exception):
                        traceback.print_exception(found)
    print(f"{failed} failed")
    return failed


# Of 30 blocks: what starts a kernel, and what the host waits for.
_BUDGET = {"linearize": {"launch": 3000, "wait": 40}, "contributions": {"launch": 600, "wait": 40}}


def check_the_budget() -> int:
    """How many of the limits a Llama of 30 blocks does not keep, once its norms and activations are known."""
    lm, ids, failed = tiny_model("llama", torch.float32, num_hidden_layers=30), tiny_prompt(length=8), 0
    with Pretended() as device:
        place(device, lm, two=False)
        eq.linearize(lm, token_ids=ids)
        device.reset()
        lin = eq.linearize(lm, token_ids=ids)
        for step, limits in _BUDGET.items():
            if step == "contributions":
                lin.contributions()
            for what, most in limits.items():
                count = device.total(what)
                failed += count > most
                print(f"{step:16} {what:8} {count:6} of at most {most}{'' if count <= most else ' TOO MANY'}")
            device.reset()
    return failed


def _loose(device: Pretended) -> str | None:
    """Which products of a step were left to the process's settings; None where none was."""
    lines = list(device.counts.get("loose product", {}))
    return f"LOOSE products at {', '.join(lines[:4])}" if lines else None


def _difference(found: object, expected: object, alike: float) -> str | None:
    """What is wrong with a step's result, in words; None where nothing is."""
    if isinstance(expected, Exception):
        refused = isinstance(found, Exception) and str(found) == str(expected)
        return None if refused else f"on the CPU {expected!r}, here {found!r}"[:300]
    if isinstance(found, Exception):
        frames = [f for f in traceback.extract_tb(found.__traceback__) if "/eqlin_core/" in f.filename]
        at = f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "?"
        return f"FAILS at {at}: {type(found).__name__}: {str(found)[:200]}"
    distance = farthest(found, expected)  # type: ignore[arg-type]
    return None if distance <= alike else f"DIFFERS by {distance:.1e}"


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(min(status, 1))
