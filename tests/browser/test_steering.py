"""The page Steering in the browser: a finished grid follows the slider at once, a generation starts and stops."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.visit import wait_idle

# A grid of 21 strengths takes minutes on two cores: `python tests/run.py -m slow tests/browser/test_steering.py`.
pytestmark = pytest.mark.slow

# Few tokens: the grid is as wide as always, and the test does not wait for long texts.
ADDRESS = "/steering?new_tokens=5"
SECONDS = 300_000
AT_ONCE = 0.3


def steered(page: Page) -> Locator:
    return page.locator(".eq-steered")


def open_finished(open_page: OpenPage, address: str = ADDRESS) -> Page:
    page = open_page(address, height=1000)
    expect(steered(page)).to_be_visible(timeout=SECONDS)
    expect(page.locator('[data-testid="stProgress"]')).to_have_count(0, timeout=SECONDS)
    wait_idle(page)
    return page


def seconds_until_the_text_changes(page: Page, key: str) -> float:
    before = steered(page).inner_text()
    start = time.perf_counter()
    page.keyboard.press(key)
    page.wait_for_function(
        "before => document.querySelector('.eq-steered')?.innerText !== before", arg=before, polling=10
    )
    return time.perf_counter() - start


def test_the_text_follows_the_slider_at_once(open_page: OpenPage) -> None:
    page = open_finished(open_page)
    expect(page.get_by_role("heading", name="Unsteered")).to_be_visible()
    page.get_by_role("slider", name="Strength λ").focus()
    for key in ["ArrowRight"] * 5 + ["ArrowLeft"] * 4:
        assert seconds_until_the_text_changes(page, key) < AT_ONCE
        wait_idle(page, quiet=0.2)


def test_at_strength_zero_both_texts_are_the_same(open_page: OpenPage) -> None:
    page = open_finished(open_page)
    page.get_by_role("slider", name="Strength λ").focus()
    page.keyboard.press("Home")
    expect(page.get_by_role("heading", name="Steered, λ = 0.00")).to_be_visible()
    wait_idle(page)
    expect(steered(page).locator("mark")).to_have_count(0)
    own = page.locator(".eq-unsteered").inner_text()
    assert steered(page).inner_text().split("\n", 1)[1] == own.split("\n", 1)[1]


def test_a_preset_loads_and_a_generation_starts_and_stops(open_page: OpenPage) -> None:
    page = open_finished(open_page)
    page.get_by_text("Dragon", exact=True).click()
    expect(page.get_by_role("textbox", name="New prompt")).to_have_value("Once upon a time there was a little")
    expect(steered(page)).to_contain_text("Once upon a time", timeout=SECONDS)
    wait_idle(page)
    page.get_by_role("textbox", name="New prompt").fill("Here is a long story about the")
    page.get_by_role("textbox", name="New prompt").press("Enter")
    page.get_by_role("button", name="Steer", exact=True).click()
    page.get_by_role("button", name="Stop", exact=True).click(timeout=60_000)
    expect(page.get_by_text("Stopped")).to_be_visible(timeout=60_000)
    expect(page.locator('[data-testid="stProgress"]')).to_have_count(0)
    expect(steered(page)).to_contain_text("Once upon a time")


def test_a_prompt_that_cannot_be_steered_says_so_and_keeps_the_last_result(open_page: OpenPage) -> None:
    page = open_finished(open_page)
    before = steered(page).inner_text()
    page.get_by_role("textbox", name="New prompt").fill("word " * 9000)
    page.get_by_role("textbox", name="New prompt").press("Enter")
    page.get_by_role("button", name="Steer", exact=True).click()
    expect(page.get_by_text("What you see below is the previous result")).to_be_visible(timeout=60_000)
    assert steered(page).inner_text() == before
