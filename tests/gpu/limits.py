"""Cancelling in the midst of a chunk, memory that does not suffice, and memory that has to be given back."""

from __future__ import annotations

import gc
import threading
import time
from unittest import mock

import torch

import eqlin_core as eq
from eqlin_core.audit.families import tiny_prompt
from eqlin_core.resources import budget, plan
from pages.worker.worker import Reporter, Worker
from tests.benchmarks.scale import prompt
from tests.gpu.setting import Setting
from tests.gpu.shapes import model_of

SOON = 3.0  # seconds from the wish to the end: a chunk and what is queued
PROMPTS, FEW = 20, 5
MIB = 2**20


def cancel(setting: Setting) -> str:
    """A matrix ends soon after its progress says so, and after a job of the app's worker is cancelled."""
    lm = model_of("llama-3.2-3b", "float32", setting)
    ids = prompt(lm, 8)
    lin = eq.linearize(lm, token_ids=ids)
    stopped: list[float] = []

    def progress(fraction: float | None, message: str) -> bool:
        if (fraction or 0) > 0.02:
            stopped.append(time.monotonic())
            return False
        return True

    try:
        lin.jacobian(progress)
        raise AssertionError("it went on to its end")
    except eq.Cancelled:
        own = time.monotonic() - stopped[0]
    assert not lin.has_jacobian
    setting.wait()

    worker, begun, cancelled = Worker(), threading.Event(), threading.Event()

    def job(report: Reporter) -> None:
        def told(fraction: float | None, message: str) -> None:
            report(fraction, message)
            if (fraction or 0) > 0:
                begun.set()
                if setting.tiny:  # which would be over before anybody could cancel it
                    cancelled.wait(60)

        eq.linearize(lm, token_ids=ids).jacobian(told)

    submitted = worker.submit("matrix", job, label="the matrix", visitor="ada")
    assert begun.wait(120), submitted.snapshot()
    wished = time.monotonic()
    assert submitted.cancel("ada"), "it was over before it could be cancelled"
    cancelled.set()
    assert submitted.wait(60)
    setting.wait()
    of_worker = time.monotonic() - wished
    assert submitted.snapshot().state == "cancelled", submitted.snapshot()
    worker.shutdown()
    assert max(own, of_worker) < SOON, f"{own:.1f} s by its own progress, {of_worker:.1f} s from the worker"
    return f"after {own:.2f} s by its progress, {of_worker:.2f} s from the worker's thread"


def memory(setting: Setting) -> str:
    """Less memory than a chunk needs: chunks are halved; a matrix without room goes to main memory, then to a file."""
    ids = tiny_prompt()
    lm = setting.model("llama", "float32")
    whole = eq.linearize(lm, token_ids=ids)
    expected, failures = whole.jacobian().cpu(), []
    reverse = eq.LinearMap._reverse

    def narrow(lin: eq.LinearMap, u: torch.Tensor) -> torch.Tensor:
        if len(u) > 5:
            failures.append(len(u))
            if setting.device.type == "cuda":  # a true refusal of the device, in its own words
                torch.empty(2**50, dtype=torch.uint8, device=setting.device)
            raise torch.OutOfMemoryError("out of memory")
        return reverse(lin, u)

    with mock.patch.object(eq.LinearMap, "_reverse", narrow):
        halved = eq.linearize(lm, token_ids=ids).jacobian().cpu()
    assert failures, "no chunk was too big"
    assert float((halved - expected).abs().max()) < 1e-5
    places = []
    free = budget.free_bytes
    for device_room, host_room in ((True, True), (False, True), (False, False)):
        room = {setting.device.type: device_room, "cpu": host_room}
        with mock.patch.object(budget, "free_bytes", lambda device, room=room: free(device) * room[device.type]):
            places.append(plan.matrix_place(expected.numel() * 4, setting.device))
    assert places[0] == "device"
    assert places[-1] == "scratch file"
    assert setting.device.type == "cpu" or places[1] == "host", places
    scratch = eq.linearize(lm, token_ids=ids, memory_budget=1)
    assert float((scratch.jacobian().cpu() - expected).abs().max()) < 1e-5
    return f"halved {len(failures)} times; the matrix lies on the device, then in main memory, then in a file"


def given_back(setting: Setting) -> str:
    """Many prompts one after the other hold no more than one; another model takes the place of the first."""
    lm = setting.model("llama", "float32")
    held, prompts = [], FEW if setting.tiny else PROMPTS
    for seed in range(prompts):
        lin = eq.linearize(lm, token_ids=tiny_prompt(seed=seed, length=8))
        lin.contributions()
        eq.spectrum(lin, 4)
        setting.wait()
        held.append(setting.allocated())
        del lin
        gc.collect()
    grown = held[-1] - held[2]
    assert grown < MIB / 4, f"{grown} bytes more after {prompts} prompts"
    del lm
    gc.collect()
    budget.release()
    empty = setting.allocated()
    lm = setting.model("qwen3", "float32")
    eq.linearize(lm, token_ids=tiny_prompt()).jacobian()
    del lm
    gc.collect()
    assert setting.allocated() - empty < MIB / 4, "the second model was not given back"
    return f"{grown} bytes more after {prompts} prompts"
