"""A visit to the app in the browser: opening a page, noting what goes wrong on it, and waiting until it is done."""

from __future__ import annotations

import time
from typing import Literal

from playwright.sync_api import Browser, ConsoleMessage, Page

Theme = Literal["light", "dark"]

# The script has run, nothing greyed out is left of the run before, and what loads late (tables, charts) is there.
IDLE = """() => {
    const app = document.querySelector('[data-testid="stApp"]');
    return app !== null
        && app.dataset.testScriptState === 'notRunning'
        && app.dataset.testConnectionState === 'CONNECTED'
        && !document.querySelector('[data-stale="true"], [data-testid="stSkeleton"]');
}"""
BUSY = """() => document.querySelector('[data-testid="stProgress"], [data-testid="stSpinner"]') !== null"""
STATE = """() => {
    const app = document.querySelector('[data-testid="stApp"]');
    const count = what => document.querySelectorAll(what).length;
    return app === null ? 'it is empty' : `its script is ${app.dataset.testScriptState}, its connection `
        + `${app.dataset.testConnectionState}; ${count('[data-stale="true"]')} stale elements, `
        + `${count('[data-testid="stSkeleton"]')} not loaded, ${count('[data-testid="stProgress"]')} progress bars`;
}"""
# Streamlit's front end looks for these two beside the page first, and at the root when it gets a 404.
EXPECTED_404 = ("/_stcore/health", "/_stcore/host-config")


def visit(
    browser: Browser,
    url: str,
    *,
    theme: Theme = "light",
    width: int = 1280,
    height: int = 900,
    problems: list[str] | None = None,
) -> Page:
    """A page in a fresh browser session, as a new visitor has it, opened at ``url`` but not waited for.

    The app follows the system's theme, which is what ``theme`` sets. Console errors and uncaught exceptions are added
    to ``problems``.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=theme, accept_downloads=True
    )
    page = context.new_page()

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.location.get("url", "").endswith(EXPECTED_404):
            add(f"console: {message.text} ({message.location.get('url')})")

    def add(problem: str) -> None:
        if problem not in found:
            found.append(problem)

    found = [] if problems is None else problems
    page.on("console", note)
    page.on("pageerror", lambda error: add(f"exception: {error}"))
    page.goto(url)
    return page


def wait_idle(page: Page, timeout: float = 60.0, quiet: float = 0.3) -> None:
    """Wait until the page has stood still for ``quiet`` seconds. Raises TimeoutError after ``timeout`` seconds.

    Polling counts as standing still between two polls: a page that follows a job is idle while the job runs.
    """
    _wait(page, f"() => ({IDLE})()", timeout, quiet, "standing still")


def wait_finished(page: Page, timeout: float = 300.0, quiet: float = 1.5) -> None:
    """Wait until the page stands still and shows no progress any more: every job has ended and its result is drawn."""
    _wait(page, f"() => ({IDLE})() && !({BUSY})()", timeout, quiet, "finished")


def _wait(page: Page, condition: str, timeout: float, quiet: float, goal: str) -> None:
    deadline = time.monotonic() + timeout
    since: float | None = None
    while True:
        now = time.monotonic()
        if not page.evaluate(condition):
            since = None
        elif since is None:
            since = now
        elif now - since >= quiet:
            return
        if now > deadline:
            raise TimeoutError(f"The page was not {goal} within {timeout:.0f} seconds: {page.evaluate(STATE)}.")
        page.wait_for_timeout(50)
