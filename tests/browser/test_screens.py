"""Small screens and large type: a phone, 150 % zoom, a laptop's first screen. What is seen is measured in pixels."""

from __future__ import annotations

from itertools import combinations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.analysis import ANSWERED, CHIPS, PATIENT, badge, chart, tracebacks
from tests.browser.conftest import OpenPage
from tests.browser.server import App
from tests.browser.visit import wait_finished

# What a page's own answer is, which a laptop shows without scrolling.
ANSWERS = {
    "tokens": CHIPS,
    "answer": ".st-key-answer-map .js-plotly-plot",
    "spectra": "text=is the smallest that keeps the top token",
    "matrix": ".st-key-freezing",
    "layers": ".st-key-heads-table .js-plotly-plot",
    "steering": ".eq-texts",
}
# The parts of a page that must not lie over one another, where they are seen.
# Tokens lie in a component's own tree, in a box that scrolls.
PARTS = """() => {
    const tokens = [...document.querySelectorAll('.stMain *')].filter(one => one.shadowRoot)
        .flatMap(host => [...host.shadowRoot.querySelectorAll('.eq-text')]).flatMap(box => {
            const {top, bottom} = box.getBoundingClientRect();
            return [...box.querySelectorAll('.eq-token')].filter(token => {
                const place = token.getBoundingClientRect();
                return place.top >= top && place.bottom <= bottom;
            });
        });
    const parts = document.querySelectorAll(
        '.stMain :is(h1, h2, button, .eq-fact, [data-baseweb="select"], .js-plotly-plot)');
    return [...parts, ...tokens]
    .filter(one => one.checkVisibility() && !one.closest('[data-stale="true"], [data-retained], .modebar'))
    .filter(one => !one.parentElement.closest('button, [data-baseweb="select"], .js-plotly-plot'))
    .map(one => [one.innerText?.slice(0, 40) || one.className, one.getBoundingClientRect()])
    .filter(([, box]) => box.width > 0 && box.height > 0)
    .map(([name, {left, right, top, bottom}]) => [name, left, right, top, bottom]); }"""


def overlaps(page: Page) -> list[str]:
    """Which parts of the page lie over one another by more than a pixel."""
    found: list[tuple[str, float, float, float, float]] = page.evaluate(PARTS)
    assert len(found) > 5
    return [
        f"{a[0]!r} and {b[0]!r}"
        for a, b in combinations(found, 2)
        if min(a[2], b[2]) - max(a[1], b[1]) > 1 and min(a[4], b[4]) - max(a[3], b[3]) > 1
    ]


def test_on_a_phone_the_sidebar_is_closed_and_nothing_overlaps(open_page: OpenPage) -> None:
    page = open_page("/tokens", width=390, height=844)
    chart(page, "waterfall")
    wait_finished(page)
    assert page.locator('[data-testid="stSidebar"]').get_attribute("data-collapsed") == "true"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert overlaps(page) == []
    assert not tracebacks(page)


def test_on_a_phone_a_tap_says_the_numbers_that_have_no_room(app: App, chromium: Browser) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"{app.url}/tokens")
    chart(page, "heatmap")
    wait_finished(page)
    plot = page.locator(".st-key-heatmap .nsewdrag").first
    plot.scroll_into_view_if_needed()
    expect(page.locator(".st-key-heatmap .textpoint text").first).to_be_hidden()
    box = plot.bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.52)
    said = page.locator(".st-key-heatmap .hoverlayer .hovertext")
    expect(said).to_have_count(1)
    assert "Marin" in (said.text_content() or "") or "of" in (said.text_content() or "")
    context.close()


def test_at_150_percent_the_badge_keeps_its_number(open_page: OpenPage) -> None:
    page = open_page("/tokens", width=853, height=600)  # what 1280 x 900 pixels hold at this zoom
    chart(page, "waterfall")
    wait_finished(page)
    expect(badge(page)).to_contain_text("e-", timeout=PATIENT)
    box = badge(page).bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 853
    assert page.evaluate("document.documentElement.scrollWidth") <= 853
    assert overlaps(page) == []


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "tokens")) for name in ANSWERS]
)
def test_a_laptop_shows_each_page_s_answer_without_scrolling(open_page: OpenPage, name: str) -> None:
    page = open_page(f"/{name}" + (f"?{ANSWERED}" if name == "answer" else ""), height=800)
    answer = page.locator(ANSWERS[name]).locator("visible=true").first
    expect(answer).to_be_visible(timeout=PATIENT)
    wait_finished(page)
    box = answer.bounding_box()
    assert box is not None
    assert box["y"] >= 0
    assert min(box["y"] + box["height"], box["y"] + 150) <= 800, "at least so much of it is seen"
