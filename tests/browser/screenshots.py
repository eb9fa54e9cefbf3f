"""`python -m tests.browser.screenshots [--out DIR]`: every page of the app, finished, in both themes and two widths.

With ``--tabs`` every tab of every page as well. Page Compare shows two maps of the prompt.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import get_args

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.analysis import ANSWERED, open_tab, published
from tests.browser.chromium import launch
from tests.browser.server import REPOSITORY, running_app
from tests.browser.visit import Theme, visit, wait_finished, wait_idle

WIDTHS = (1280, 1920)
HEIGHT = 900
LINKS = '[data-testid="stSidebarNavLink"], [data-testid="stTopNavLink"]'
# What scrolls is the main area, not the document, so a full-page picture needs a window as tall as that area.
CONTENT_HEIGHT = """() => Math.max(...[...document.querySelectorAll(
    '[data-testid="stMain"], [data-testid="stSidebarContent"]')].map(area => area.scrollHeight))"""


def main(arguments: list[str] | None = None) -> int:
    """Write the pictures and print their paths. 1 when a page reported an error, which is printed too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "test-results" / "screenshots")
    parser.add_argument("--query", default="", help="a query string for every page, such as prompt=Hello")
    parser.add_argument("--tabs", action="store_true", help="a picture of every tab, too")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    with running_app() as app, sync_playwright() as playwright:
        browser = launch(playwright)
        for name, path in pages_of_the_app(browser, app.url).items():
            query = options.query or (ANSWERED if name == "answer" else "")
            url = f"{app.url}{path}" + (f"?{query}" if query else "")
            for theme in get_args(Theme):
                for width in WIDTHS:
                    picture = options.out / f"{name}-{theme}-{width}.png"
                    page = visit(browser, url, theme=theme, width=width, height=HEIGHT, problems=problems)
                    wait_finished(page)
                    compare_two_maps(page)
                    full_picture(page, picture)
                    print(picture)
                    for tab in other_tabs(page) if options.tabs else []:
                        open_tab(page, tab)
                        in_tab = picture.with_name(f"{name}-{file_name(tab)}-{theme}-{width}.png")
                        full_picture(page, in_tab)
                        print(in_tab)
                    page.context.close()
        browser.close()
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def pages_of_the_app(browser: Browser, url: str) -> dict[str, str]:
    """The path of every page in the app's navigation, by the page's name in small letters."""
    page = visit(browser, url)
    wait_idle(page)
    links = page.locator(LINKS).all()
    found = {
        file_name(link.inner_text()): "/" + (link.get_attribute("href") or "").rpartition("/")[2] for link in links
    }
    page.context.close()
    return found or {"first": "/"}


def compare_two_maps(page: Page) -> None:
    """On page Compare, which is empty until something is pinned: pin what is shown, and turn to the published map."""
    pin = page.get_by_role("button", name="Pin as A", exact=True)
    if pin.count():
        pin.click()
        wait_finished(page)
        published(page)


def other_tabs(page: Page) -> list[str]:
    """The names of the page's tabs that are not open."""
    return page.locator('[role="tab"][aria-selected="false"]:visible').all_inner_texts()


def file_name(text: str) -> str:
    """The text in small letters without spaces."""
    return re.sub(r"\W+", "-", text.strip().lower())


def full_picture(page: Page, picture: Path) -> None:
    """The whole page, from its top to the end of what can be scrolled to, once its analysis is finished."""
    wait_finished(page)
    width = (page.viewport_size or {"width": WIDTHS[0]})["width"]
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.set_viewport_size({"width": width, "height": max(HEIGHT, page.evaluate(CONTENT_HEIGHT))})
    wait_idle(page, quiet=0.8)  # charts are drawn anew for the new size
    page.screenshot(path=picture)


if __name__ == "__main__":
    sys.exit(main())
