"""Time and memory at true shapes: against plain matrix products, against the plan, and refined against direct."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import torch

import eqlin_core as eq
from eqlin_core.resources import budget, plan
from tests.benchmarks.engine import plain_products
from tests.benchmarks.scale import prompt
from tests.gpu.setting import Setting
from tests.gpu.shapes import TINY, model_of

TOKENS, KEPT = 8, 24
# Of half-precision products an H200 makes fourteen times as many a second, and what lies between them, norms and gates
# that are kept in float32, is no faster: 0.69 and 0.79 there.
LEAST_SHARE, PLANNED_WITHIN = {"float64": 0.85, "float32": 0.85, "bfloat16": 0.6}, 2.0
HEAD = [
    "model",
    "dtype",
    "linearize",
    "contributions",
    "matrix",
    "of the products' rate",
    "planned",
    "peak",
    "spectra",
    "refined",
    "matrix, TF32",
    "TF32 reconstructs to",
]
# Beside the two that everybody takes: a float64 copy of the bigger model does not fit on a card beside its rough one.
PRECISIONS = {"llama-3.2-3b": ("float64",), "qwen3-8b": ()}


def rows(setting: Setting) -> tuple[list[list[str]], list[str]]:
    """The table's rows, and what in them is not as it is expected to be."""
    table, complaints = [], []
    for shape in TINY:
        for dtype in ("float32", "bfloat16", *PRECISIONS[shape]):
            cells, missed = row(shape, dtype, setting)
            print(f"{shape}, {dtype} | {' | '.join(cells)}", flush=True)
            table.append([shape if not setting.tiny else f"tiny, for {shape}", dtype, *cells])
            complaints += [f"{shape}, {dtype}: {said}" for said in missed]
            gc.collect()
            budget.release()
    return table, [] if setting.tiny else complaints


def row(shape: str, dtype: str, setting: Setting) -> tuple[list[str], list[str]]:
    """One model's cells, and what is missed."""
    lm = model_of(shape, dtype, setting)
    ids, k = prompt(lm, TOKENS), min(KEPT, lm.width)
    warm = eq.linearize(lm, token_ids=ids)  # norms and activations are asked, kernels chosen
    warm.contributions()
    warm.adjoint(torch.eye(64, lm.width, dtype=lm.dtype, device=setting.device))
    planned = plan.plan_run(lm, TOKENS)
    lin, recording = timed(lambda: eq.linearize(lm, token_ids=ids), setting)
    _, contributions = timed(lin.contributions, setting)
    products = plain_products(lin)
    products()
    _, plain = timed(products, setting)
    del products, warm
    gc.collect()
    if setting.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(setting.device)
    before = setting.allocated()
    _, matrix = timed(lin.jacobian, setting)
    peak = torch.cuda.max_memory_allocated(setting.device) - before if setting.device.type == "cuda" else 0
    _, spectra = timed(lambda: eq.spectrum(lin, k), setting)
    refined = "-"
    if lm.dtype in plan.ROUGH_DTYPE:
        fresh = eq.linearize(lm, token_ids=ids)
        found, seconds = timed(lambda: eq.spectrum(fresh, k, method="refined"), setting)
        apart = float(((found.S - eq.spectrum(lin, k).S).abs() / found.S[:, :1]).max())
        assert apart < 1e-4, f"refined and direct are {apart:.0e} apart"
        refined = f"{seconds:.2f} s, {found.passes} passes"
    assert lin.exactness().exact, lin.exactness()
    tf32 = ["-", "-"]
    if lm.dtype == torch.float32:
        short = eq.linearize(lm, token_ids=ids, products="tf32")
        _, seconds = timed(short.jacobian, setting)
        found = short.exactness()
        assert found.exact, f"TF32 is beyond its bound: {found}"
        tf32 = [f"{seconds:.2f} s", f"{found.reconstruction:.0e}"]
    share, off = plain / matrix, max(planned.seconds / matrix, matrix / planned.seconds)
    missed = [f"{share:.2f} of the products' rate"] * (share < LEAST_SHARE[dtype])
    missed += [f"planned {planned.seconds:.1f} s, taken {matrix:.1f} s"] * (off > PLANNED_WITHIN)
    seconds_of = [f"{recording:.2f} s", f"{contributions:.2f} s", f"{matrix:.2f} s", f"{share:.2f}"]
    sizes = [f"{planned.seconds:.2f} s", f"{peak / 2**30:.2f} GiB"]
    return [*seconds_of, *sizes, f"{spectra:.2f} s", refined, *tf32], missed


def timed(call: Callable[[], Any], setting: Setting) -> tuple[Any, float]:
    """What a call gives, and its seconds."""
    setting.wait()
    began = time.perf_counter()
    result = call()
    setting.wait()
    return result, time.perf_counter() - began
