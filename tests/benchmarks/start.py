"""``python -m tests.benchmarks.start``: from opening the page to a finished analysis, and what imports cost.

Every start is a server process of its own, visited by a browser that is running already, on page Start (its sentence,
and its step's two equal numbers) and on page Tokens (the strip's numbers, the waterfall, and the page's last chart).
The first row computes; the second opens on the example that is shipped, the third on the analysis that an earlier start
has saved. The model is in the cache in all three. In the last nothing is: it is being fetched while the page is drawn.
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

ROWS = ("computed", "shipped", "saved", "empty cache")
START = {"Start's sentence": "h1", "its numbers": ".eq-sides"}
TOKENS = {
    "Tokens' strip": ".eq-strip",
    "its waterfall": ".st-key-waterfall .barlayer",
    "its last chart": ".st-key-heatmap .heatmaplayer",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    print(report(parser.parse_args().rounds))


def report(rounds: int) -> str:
    """The table and what it was measured on, as Markdown."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = launch(playwright)
        keep_one(browser, f"{folder}/saved")  # which saves the analysis that the others open on
        rows = []
        for name in ROWS:
            found: list[list[float]] = []
            for n in range(rounds):
                environment = {
                    "computed": {"EQLIN_SAVED_RUNS": "0"},
                    "shipped": {"EQLIN_SAVED_RUNS": f"{folder}/{n}"},
                    "saved": {"EQLIN_SAVED_RUNS": f"{folder}/saved"},
                    "empty cache": {"EQLIN_SAVED_RUNS": f"{folder}/e{n}", "EQLIN_CACHE": f"{folder}/c{n}"},
                }[name]
                found.append(
                    [*opened(browser, environment, "/", START), *opened(browser, environment, "/tokens", TOKENS)]
                )
            rows.append([name, *(f"{median(seconds):.1f} s" for seconds in zip(*found, strict=True))])
    torch, engine = imports(rounds)
    return (
        markdown(["first page", *START, *TOKENS], rows)
        + f"\n\nimport torch takes {torch:.2f} s, and the engine with it {engine - torch:.2f} s more.\n\n{machine()}"
    )


def opened(browser: Browser, environment: dict[str, str], path: str, what: dict[str, str]) -> list[float]:
    """Seconds from asking for a page until each of these is on it."""
    with running_app(environment=environment) as app:
        page = browser.new_context().new_page()
        began = time.perf_counter()
        page.goto(f"{app.url}{path}")
        times = []
        for selector in what.values():
            page.locator(selector).first.wait_for(timeout=300_000)
            times.append(time.perf_counter() - began)
        page.context.close()
    return times


def keep_one(browser: Browser, saved_runs: str) -> None:
    """Compute the example, too, so that it is saved."""
    with running_app(environment={"EQLIN_SAVED_RUNS": saved_runs}) as app:
        page = browser.new_context().new_page()
        page.goto(f"{app.url}/tokens")
        page.locator(TOKENS["its last chart"]).wait_for(timeout=300_000)
        page.get_by_role("button", name="Analyse", exact=True).click()
        page.locator(".st-key-progress").wait_for(timeout=60_000)
        page.locator(".st-key-progress").wait_for(state="detached", timeout=300_000)
        page.context.close()


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
