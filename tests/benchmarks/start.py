"""``python -m tests.benchmarks.start``: from opening the page to a finished analysis, and what imports cost.

Every start is a server process of its own, visited by a browser that is running already. The first row computes; the
second opens on the example that is shipped, the third on the analysis that an earlier start has saved. The model is in
the cache in all three.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from statistics import median

from playwright.sync_api import Browser, sync_playwright

from tests.benchmarks.measure import machine, markdown
from tests.browser.chromium import launch
from tests.browser.server import running_app

ROWS = ("computed", "shipped", "saved")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    print(report(parser.parse_args().rounds))


def report(rounds: int) -> str:
    """The table and what it was measured on, as Markdown."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = launch(playwright)
        saved = f"{folder}/saved"
        opened(browser, saved, analyse=True)  # which saves the analysis that the others open on
        rows = []
        for name in ROWS:
            runs = {"computed": lambda _: "0", "shipped": lambda n: f"{folder}/{n}", "saved": lambda _: saved}[name]
            times = [opened(browser, runs(n)) for n in range(rounds)]
            rows.append([name, *(f"{median(seconds):.1f} s" for seconds in zip(*times, strict=True))])
    torch, engine = imports(rounds)
    return (
        markdown(["first page", "numbers", "charts"], rows)
        + f"\n\nimport torch takes {torch:.2f} s, and the engine with it {engine - torch:.2f} s more.\n\n{machine()}"
    )


def opened(browser: Browser, saved_runs: str, *, analyse: bool = False) -> tuple[float, float]:
    """Seconds from asking for the page until the strip with the numbers, and until its last chart, is drawn.

    Where it is to ``analyse``, the example is computed, too.
    """
    with running_app(environment={"EQLIN_SAVED_RUNS": saved_runs}) as app:
        page = browser.new_context().new_page()
        began = time.perf_counter()
        page.goto(f"{app.url}/tokens")
        page.locator(".eq-strip").wait_for(timeout=300_000)
        numbers = time.perf_counter() - began
        page.locator(".st-key-heatmap .heatmaplayer").wait_for(timeout=60_000)
        charts = time.perf_counter() - began
        if analyse:
            page.get_by_role("button", name="Analyse", exact=True).click()
            page.locator(".st-key-progress").wait_for(timeout=60_000)
        page.locator(".st-key-progress").wait_for(state="detached", timeout=300_000)
        page.context.close()
    return numbers, charts


def imports(rounds: int) -> tuple[float, float]:
    """Median seconds of importing torch, and of importing torch and everything that `linearize` needs."""
    programs = ("import torch", "import torch, eqlin_core; eqlin_core.linearize")
    found: list[list[float]] = [[], []]
    for _ in range(rounds):
        for i, program in enumerate(programs):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            found[i].append(time.perf_counter() - began)
    return median(found[0]), median(found[1])


if __name__ == "__main__":
    main()
