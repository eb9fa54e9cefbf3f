"""``python -m tests.gpu [--device cuda]``: numbers, limits and speed of a real GPU; nonzero if something is not so.

Needs no network. ``--tiny`` takes tiny models everywhere: with ``--device cpu`` it tries this program itself.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

import torch

from tests.benchmarks.measure import machine, markdown
from tests.gpu import limits, same, speed
from tests.gpu.setting import Check, Setting

CHECKS: dict[str, Check] = {
    "families, precisions and conventions": same.families,
    "every step of the engine": same.steps,
    "all digits of float32": same.all_digits,
    "cancelled soon": limits.cancel,
    "memory that does not suffice": limits.memory,
    "memory given back": limits.given_back,
}


def main() -> int:
    """How many checks failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("There is no CUDA device here, so nothing was tried; --device cpu --tiny tries this program.")
        return 0
    setting = Setting(torch.device(options.device), options.tiny)
    lines, failed = [], 0
    for name, check in CHECKS.items():
        began = time.perf_counter()
        try:
            said = check(setting)
        except Exception as error:
            traceback.print_exc()
            said, failed = f"FAILED: {error}".splitlines()[0], failed + 1
        lines.append([name, said, f"{time.perf_counter() - began:.0f} s"])
        print(" | ".join(lines[-1]), flush=True)
    table, complaints = speed.rows(setting)
    where = torch.cuda.get_device_name(setting.device) if setting.device.type == "cuda" else str(setting.device)
    print(f"\n{markdown(['what', 'found', 'took'], lines)}\n\n{markdown(speed.HEAD, table)}\n\n{where}. {machine()}")
    for complaint in complaints:
        print(f"NOT AS EXPECTED: {complaint}")
    return failed + len(complaints)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
