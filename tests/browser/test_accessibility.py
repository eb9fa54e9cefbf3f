"""Every page in both themes has nothing that axe-core finds serious, and one heading of the first level."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.analysis import ANSWERED, PATIENT, chart
from tests.browser.conftest import OpenPage
from tests.browser.visit import Theme

PAGES = ("start", "tokens", "answer", "spectra", "matrix", "layers", "steering", "compare", "study", "runs", "models")
TRIES = 20


def violations(page: Page) -> list[str]:
    """What axe-core finds serious or worse: the rule, and where it is broken."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("theme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_axe_finds_nothing_serious(theme: Theme, open_page: OpenPage) -> None:
    page = open_page("/", theme=theme)
    for name in PAGES:
        page.get_by_role("link", name=name.capitalize(), exact=True).click()
        page.wait_for_url(f"**/{name}*" if name != "start" else "**")
        expect(page.locator('[data-stale="true"]')).to_have_count(0, timeout=PATIENT)
        expect(page.get_by_role("heading", level=1)).to_have_count(1, timeout=PATIENT)
        check(page, name)
    answered = open_page(f"/answer?{ANSWERED}", theme=theme)
    chart(answered, "without-groups")
    check(answered, "an answer")


def check(page: Page, name: str) -> None:
    """Nothing serious is found, once what is fading out is gone."""
    found = violations(page)
    for _ in range(TRIES):  # as a progress line that has ended, which has no contrast for a moment
        if not found:
            break
        page.wait_for_timeout(1000)
        found = violations(page)
    assert not found, f"{name}: {found}"
