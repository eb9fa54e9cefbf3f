"""The device's numbers against the CPU's: families, steps, and products whatever the process has set."""

from __future__ import annotations

import torch

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model, tiny_prompt
from eqlin_core.runs.convention import PUBLISHED, Convention
from tests.devices.steps import farthest, numbers, run_steps
from tests.gpu.setting import UNROUNDED, Setting, alike

CONVENTIONS = {"published": PUBLISHED, "half of each": Convention("half", "half")}


def families(setting: Setting) -> str:
    """Contributions, output and bias of every family in every precision and both conventions, and the exactness."""
    ids, found_apart, wrong = tiny_prompt(), dict[str, float](), []
    for family in setting.families:
        for dtype in setting.dtypes:
            for name, convention in CONVENTIONS.items():
                here, there = (
                    eq.linearize(lm, token_ids=ids, **convention.keywords)
                    for lm in (setting.model(family, dtype), tiny_model(family, getattr(torch, dtype)))
                )
                found, expected = (list(numbers((lin.contributions(), lin.output, lin.bias))) for lin in (here, there))
                distance, exactness = farthest(found, expected), here.exactness()
                said = f"{dtype} of {' and '.join(UNROUNDED)}" if dtype == "float64" and family in UNROUNDED else dtype
                found_apart[said] = max(found_apart.get(said, 0.0), distance)
                if distance > alike(dtype, family):
                    wrong.append(f"{family}, {dtype}, {name}: {distance:.1e} apart")
                if not exactness.exact:
                    wrong.append(f"{family}, {dtype}, {name}: {exactness}")
    none_of(wrong)
    apart = ", ".join(f"{distance:.0e} in {said}" for said, distance in found_apart.items())
    return f"{len(setting.families)} families exact; at most apart {apart}"


def steps(setting: Setting) -> str:
    """Spectra, joint, Krylov, truncation, sweep, heads, steering and all other steps of the engine."""
    ids, count, wrong, said = tiny_prompt(), 0, [], []
    exact = [(UNROUNDED[0], "float64"), ("llama", "float64")] if setting.has_float64 and not setting.tiny else []
    for family, dtype in (("llama", "float32"), *exact):
        worst, expected = (0.0, ""), dict(run_steps(tiny_model(family, getattr(torch, dtype)), ids))
        for step, found in run_steps(setting.model(family, dtype), ids):
            other, where = expected[step], f"{step}, {family}, {dtype}"
            if isinstance(found, Exception) or isinstance(other, Exception):
                if str(found) != str(other):  # a family may have no such step
                    wrong.append(f"{where}: {found!r}, on the CPU {other!r}"[:400])
                continue
            count += 1
            distance = farthest(found, other)
            worst = max(worst, (distance, step))
            if distance > alike(dtype, family):
                wrong.append(f"{where}: {distance:.1e} apart")
        said.append(f"{worst[0]:.0e} of {family} in {dtype} ({worst[1]})")
    none_of(wrong)
    return f"{count} steps give the CPU's numbers; at most apart {', '.join(said)}"


def none_of(wrong: list[str]) -> None:
    """Raise with all that is wrong, so that one run shows it."""
    for one in wrong:
        print(f"  {one}", flush=True)
    assert not wrong, f"{len(wrong)} are not so: {wrong[0]}"


def all_digits(setting: Setting) -> str:
    """Products with TF32 forced on by the process give what they give without, and the setting stays."""
    ids = tiny_prompt()
    lm = setting.model("llama", "float32")
    plain = eq.linearize(lm, token_ids=ids)
    plain_matrix = plain.jacobian()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        forced = eq.linearize(lm, token_ids=ids)
        assert torch.equal(forced.jacobian(), plain_matrix), "the process's setting reached the passes"
        assert torch.equal(forced.contributions(), plain.contributions())
        assert torch.get_float32_matmul_precision() == "medium", "the setting was not put back"
    finally:
        torch.set_float32_matmul_precision(before)
    worst = 0.0
    for family in setting.families:
        short = eq.linearize(setting.model(family, "float32"), token_ids=ids, products="tf32")
        short.jacobian()  # which is held against its bound too
        found = short.exactness()
        assert found.exact, f"TF32 is beyond its bound: {family}, {found}"
        worst = max(worst, found.reconstruction / found.bounds[0], found.forward / found.bounds[1])
    return f"identical; TF32 on request comes to {worst:.3f} of its bounds at most"
