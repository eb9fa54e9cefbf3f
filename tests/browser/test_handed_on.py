"""A report that was downloaded from the page opens offline, and is verified; one with a changed number is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.analysis import MARIN, PATIENT, chart, part
from tests.browser.conftest import OpenPage
from tests.browser.visit import wait_finished


@pytest.fixture
def report(open_page: OpenPage, tmp_path: Path) -> Path:
    """The file behind the strip's button, of the example that every start opens on."""
    page = open_page("/tokens")
    chart(page, "waterfall")
    wait_finished(page)
    with page.expect_download(timeout=PATIENT) as waiting:
        part(page, "report", "button:visible").click()
    file = tmp_path / "report.html"
    waiting.value.save_as(file)
    return file


def test_a_report_from_the_page_opens_offline(report: Path, chromium: Browser) -> None:
    context = chromium.new_context(offline=True)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(report.as_uri())
    page.wait_for_function("document.querySelectorAll('.chart .main-svg').length > 3")
    assert MARIN in page.inner_text("body")
    assert problems == []
    context.close()


@pytest.mark.slow
def test_it_is_verified_and_a_changed_number_is_named(report: Path, tmp_path: Path) -> None:
    def verify(file: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "eqlin_core", "verify", str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)

    sound = verify(report)
    assert sound.returncode == 0, sound.stdout + sound.stderr
    text = report.read_text(encoding="utf-8")
    changed = tmp_path / "changed.html"
    assert "9.358" in text
    changed.write_text(text.replace("9.358", "9.458", 1), encoding="utf-8")
    wrong = verify(changed)
    assert wrong.returncode == 1, wrong.stdout
    assert "NOT VERIFIED" in wrong.stdout
