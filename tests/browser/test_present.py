"""Present mode in the browser: one screen a step at both sizes of a stage, and keys that turn steps and pages."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from pages.story.steps import NAMES
from tests.browser.analysis import ANSWERED, PATIENT, tracebacks
from tests.browser.server import App
from tests.browser.visit import visit, wait_finished

CHARTS = ".stPlotlyChart .main-svg"
# The size of the type of paragraphs and of a chart's ticks, and whether anything of the page is wider than the screen.
SIZES = """() => {
    const size = what => {
        const all = [...document.querySelectorAll(what)].map(found => parseFloat(getComputedStyle(found).fontSize));
        return all.sort((a, b) => a - b)[all.length >> 1];  // an inset may have smaller ones
    };
    const main = document.querySelector('[data-testid="stMain"]');
    return {text: size('[data-testid="stMarkdownContainer"] > p'), ticks: size('.xtick text'),
            wider: main.scrollWidth > main.clientWidth};
}"""


SLOW = ("answer", "spectra", "layers", "steering")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080)])
def test_on_a_stage_every_step_is_one_screen_and_keys_turn_them(
    app: App, chromium: Browser, width: int, height: int
) -> None:
    page = visit(chromium, f"{app.url}/?present=true&step={quote(NAMES[0])}", width=width, height=height)
    for number, name in enumerate(NAMES):
        expect(page.locator('[data-testid="stButtonGroup"] button[aria-checked="true"]').first).to_have_text(
            name, timeout=PATIENT
        )
        if number in (1, 2):
            expect(page.locator(CHARTS).first).to_be_visible(timeout=PATIENT)
        wait_finished(page, quiet=0.5)
        expect(page.get_by_test_id("stSidebar")).to_be_hidden()
        check(page, width, charts=number in (1, 2))
        way_on = page.locator(".st-key-way-on").bounding_box()
        assert way_on is not None
        assert way_on["y"] + way_on["height"] <= height, f"step {name} is higher than the screen"
        page.locator("h1").click()
        page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", level=1)).to_have_text("Who adds what?", timeout=PATIENT)
    expect(page.locator(CHARTS).first).to_be_visible(timeout=PATIENT)
    wait_finished(page, quiet=0.5)
    check(page, width, charts=True)
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Who adds what?", timeout=PATIENT)
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("stSidebar")).to_be_visible(timeout=PATIENT)
    page.context.close()


@pytest.mark.parametrize(
    "name",
    ["matrix", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)],
)
def test_every_page_can_be_presented(name: str, app: App, chromium: Browser) -> None:
    page = visit(
        chromium,
        f"{app.url}/{name}?present=true" + (f"&{ANSWERED}" if name == "answer" else ""),
        width=1280,
        height=720,
    )
    expect(page.locator(CHARTS).first).to_be_visible(timeout=PATIENT)
    wait_finished(page, quiet=0.5)
    check(page, 1280, charts=True)
    page.context.close()


def check(page: Page, width: int, charts: bool) -> None:
    """Type of at least 16 pixels and ticks of 14 on 1280, more on a wider screen; nothing is cut or has failed."""
    seen, wide = page.evaluate(SIZES), width / 1280
    assert seen["text"] >= 16 * wide
    if charts:
        assert seen["ticks"] >= 14 * min(wide, 1.4)
    assert not seen["wider"]
    assert not tracebacks(page)
