"""``eqlin serve`` of the installed wheel: its link opens on a finished analysis, and it looks as it does from here."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.analysis import (
    PATIENT,
    TOKEN_TABS,
    address,
    charts,
    facts,
    open_page_named,
    tracebacks,
    traces,
    wait_for_tokens,
)
from tests.browser.server import START_SECONDS, App, free_port, stop
from tests.browser.visit import visit, wait_finished
from tests.eqlin_core.models.model_cases import byte_level_tokenizer, tiny_llama
from tests.installed import Installed

LINE = re.compile(r"eqlin is at (\S+) ")


def test_serve_opens_on_a_finished_analysis(installed: Installed, chromium: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    tiny_llama(vocab_size=300).save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    log_file = tmp_path / "log.txt"
    command = [str(installed.eqlin), "serve", str(folder), "--port", str(free_port()), "--no-browser"]
    quiet = {"EQLIN_SAVED_RUNS": "0", "PYTHONUNBUFFERED": "1"}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=installed.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**installed.variables, **quiet},
        )
    app = App("", log_file, process)
    problems: list[str] = []
    try:
        link = announced(app)
        page = visit(chromium, link.partition("?")[0], problems=problems)
        wait_for_tokens(page, 7)
        expect(page.locator(".eq-sides")).to_be_visible()
        assert facts(page)["model"] == "smollm2-135m", "the default, where the link names none"
        open_page_named(page, "Tokens")
        wait_finished(page)
        assert all(charts(page, TOKEN_TABS).values())
        # the configuration travels along: with Streamlit's own the button is red
        button = page.get_by_role("button", name="Analyse", exact=True)
        assert button.evaluate("button => getComputedStyle(button).backgroundColor") == "rgb(31, 95, 168)"
        open_page_named(page, "Spectra")
        wait_finished(page)
        assert len(traces(page, "singular-values")) >= 7
        page.context.close()

        page = visit(chromium, link, problems=problems)
        expect(page.locator(".eq-strip")).to_contain_text("my model", timeout=PATIENT)
        wait_finished(page)
        assert facts(page)["model"] == address(page)["model"] == str(folder.resolve())
        assert tracebacks(page) == 0
        page.context.close()
        assert problems == []
        assert "Traceback" not in app.log()
    finally:
        stop(process)
    assert process.returncode == 0, "asked to end, it ends well"


def announced(app: App) -> str:
    """The link that the command prints once the dashboard answers. Raises RuntimeError with the log without one."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and app.process.poll() is None:
        if found := LINE.search(app.log()):
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"The command did not say where the dashboard is:\n{app.log()}")
