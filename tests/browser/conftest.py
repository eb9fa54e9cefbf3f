"""The running app and a headless Chromium, once for all browser tests; a fresh visitor for each test."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

from tests.browser.chromium import launch
from tests.browser.server import REPOSITORY, SCRIPT, App, running_app
from tests.browser.visit import visit, wait_idle

RESULTS = REPOSITORY / "test-results"
PAGES = pytest.StashKey[list[Page]]()

OpenPage = Callable[..., Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """When a browser test fails, show the app's log and keep a picture of every page that was open."""
    report = yield
    if report.failed:
        app = getattr(item, "funcargs", {}).get("app")
        if isinstance(app, App):
            report.sections.append(("log of the app", app.log()))
        pages: list[Page] = item.stash.get(PAGES, [])
        for number, page in enumerate(pages):
            picture = RESULTS / f"{re.sub(r'[^A-Za-z0-9]+', '-', item.nodeid)}-{number}.png"
            picture.parent.mkdir(exist_ok=True)
            try:
                page.screenshot(path=picture)
            except Error:  # the page is closed or the browser gone; the failure itself is what counts
                continue
            report.sections.append(("picture of the page", f"{picture.relative_to(REPOSITORY)} of {page.url}"))
    return report


# These three end with the browser tests, not with the session: a running Playwright occupies the thread's event loop.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The browser."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def script() -> Path:
    """The app that is served."""
    return SCRIPT


@pytest.fixture(scope="package")
def app(script: Path) -> Iterator[App]:
    """The running app."""
    with running_app(script) as running:
        yield running


@pytest.fixture
def problems() -> list[str]:
    """Console errors and uncaught exceptions of the test's pages. A test that expects some clears them."""
    return []


@pytest.fixture
def open_page(app: App, chromium: Browser, problems: list[str], request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """Opens a path of the app as a new visitor and waits until it stands still; see ``visit`` for the options."""
    pages: list[Page] = request.node.stash.setdefault(PAGES, [])

    def open_path(path: str = "/", **options: Any) -> Page:
        page = visit(chromium, app.url + path, problems=problems, **options)
        pages.append(page)
        wait_idle(page)
        return page

    yield open_path
    for page in pages:
        page.context.close()
    assert not problems, "The browser reported:\n" + "\n".join(problems)


@pytest.fixture
def app_page(open_page: OpenPage) -> Page:
    """The first page of the app, as a new visitor sees it."""
    return open_page("/")
