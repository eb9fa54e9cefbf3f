"""The code of every page in the browser: it is offered at the plain address, and it runs as it stands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.analysis import ANSWERED, MARIN, PATIENT, part, tracebacks
from tests.browser.conftest import OpenPage

PAGES = {
    "tokens": "terms, bias, total = run.split(w)",
    "answer": "split = eq.answer_split(lin, text.first",
    "spectra": "spectra = eq.spectrum_run(lin, k=24)",
    "matrix": "matrix = lin.jacobian()[token]",
    "layers": "sweep = eq.layer_sweep(lm, token_ids=lin.token_ids",
    "steering": "texts = eq.steering_sweep(lm, prompt, operator, strengths, 24)",
    "compare": "found = eq.compare_runs(run_a, run_b, target_a=",
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "tokens")) for name in PAGES])
def test_every_page_hands_out_its_code(name: str, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(f"/{name}?{ANSWERED}" if name == "answer" else f"/{name}")
    if name == "compare":
        page.locator(".st-key-pin-here button").click(timeout=PATIENT)
    part(page, "code", "button:visible").click(timeout=PATIENT)
    shown = page.locator('[data-testid="stPopoverBody"] [data-testid="stCode"]')
    expect(shown).to_contain_text(PAGES[name], timeout=PATIENT)
    assert not tracebacks(page)
    for suffix in ("py", "ipynb"):
        with page.expect_download() as waiting:
            part(page, f"code-{suffix}", "button:visible").click()
        waiting.value.save_as(tmp_path / f"code.{suffix}")
        assert waiting.value.suggested_filename == f"eqlin-{name}.{suffix}"
    script = (tmp_path / "code.py").read_text(encoding="utf-8")
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stderr
    if name == "tokens":
        sum_and_logit = re.search(r"sum to ([\d.]+), of ([\d.]+)", ran.stdout)
        assert sum_and_logit is not None
        page.keyboard.press("Escape")
        caption = page.get_by_text("Bias and tokens sum to").inner_text()
        on_the_page = re.search(r"sum to ([\d.]+), the logit is ([\d.]+)", caption)
        assert on_the_page is not None, caption
        for printed, drawn in zip(sum_and_logit.groups(), on_the_page.groups(), strict=True):
            assert float(printed) == pytest.approx(float(drawn), rel=1e-5)
    assert name == "steering" or f"prompt = {MARIN!r}" in script
    cells = json.loads((tmp_path / "code.ipynb").read_text(encoding="utf-8"))["cells"]
    assert [cell["cell_type"] for cell in cells][:2] == ["markdown", "code"]
