"""``python -m tests.benchmarks.devices``: the default model on the GPU beside the CPU of the same machine.

Linearization, contributions, matrix and spectra of one prompt, and a study of many, in float32 and float64.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from typing import Any

import torch

import eqlin_core as eq
from tests.benchmarks.measure import machine, markdown, measure
from tests.cases import MARIN

KEPT = 24
HEAD = ["where", "dtype", "linearize", "contributions", "matrix", "spectra", "refined", "study", "with spectra"]


def row(device: str, threads: int, dtype: str, rounds: int, prompts: int) -> list[str]:
    """One device's line: medians of one prompt, and seconds a prompt of a study."""
    torch.set_num_threads(threads)
    lm = eq.load_model("smollm2-135m", dtype, device)
    lin = eq.linearize(lm, MARIN)
    lin.jacobian()

    def done(call: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            call()
            if device != "cpu":
                torch.cuda.synchronize()

        return run

    def fresh() -> eq.LinearMap:
        lin._jacobian = lin._contributions = None
        return lin

    calls = {
        "linearize": lambda: eq.linearize(lm, MARIN),
        "contributions": lambda: fresh().contributions(),
        "matrix": lambda: fresh().jacobian(),
        "spectra": lambda: eq.spectrum(lin, KEPT),
        "refined": lambda: eq.spectrum(lin, KEPT, method="refined"),
    }
    took = measure({name: done(call) for name, call in calls.items()}, rounds)
    seconds = [f"{took[name].seconds:.3f} s" for name in calls]
    where = device if device != "cpu" else f"CPU, {threads} threads"
    chosen = eq.study_prompts("marin-100")[:prompts]
    for measures in (("exactness", "contributions"), ("exactness", "contributions", "spectra")):

        def study(measures: tuple[str, ...] = measures) -> None:
            with tempfile.TemporaryDirectory() as folder:
                eq.run_study(chosen, lm, folder, measures, k=8)

        each = measure({"study": study}, 0)["study"].seconds / len(chosen)
        seconds.append(f"{1000 * each:.0f} ms each")
    print(" | ".join([where, dtype, *seconds]), flush=True)
    return [where, dtype, *seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--threads", type=int, nargs="*", default=[2, 16], help="of the CPU beside it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=100, help="of the study on the device")
    parser.add_argument("--fewer", type=int, default=4, help="of the study on the CPU")
    options = parser.parse_args()
    rows = []
    for dtype in ("float32", "float64"):
        rows.append(row(options.device, max(options.threads, default=2), dtype, options.rounds, options.prompts))
        rows += [row("cpu", n, dtype, 0, options.fewer) for n in options.threads]
    where = torch.cuda.get_device_name() if options.device != "cpu" else "CPU"
    print(f"\n{markdown(HEAD, rows)}\n\n{where}. {machine()}")


if __name__ == "__main__":
    main()
