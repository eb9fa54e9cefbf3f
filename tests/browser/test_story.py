"""The app as a whole in the browser: the story of page Start, two runs compared, tabs as links, a page that lies still.

What the pages have in common is measured in pixels: how high they are, and that nothing moves that was not asked to.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.analysis import (
    MARIN,
    PATIENT,
    address,
    analyse,
    ask,
    chart,
    choose,
    downloaded_csv,
    errors,
    open_page_named,
    open_tab,
    opened_tab,
    published,
    tracebacks,
    traces,
    wait_for_tokens,
)
from tests.browser.conftest import PAGES, OpenPage
from tests.browser.server import App
from tests.browser.visit import visit, wait_finished, wait_idle

PARIS = "The bridge out of Paris is the"
HIGHEST = 2200  # pixels at a width of 1280
# What each step of the story shows, and the page that its link leads to.
STEPS = {
    ".eq-equation, .eq-sides": "matrix",
    ".st-key-story-errors .js-plotly-plot": "matrix",
    ".st-key-story-waterfall .js-plotly-plot": "tokens",
    ".eq-texts": "steering",
}
# Of every page a tab that is not open at its plain address, by its name there. Layers has three tokens, so that its
# sweeps do not take long; the page is as high with the seven of the default example.
TABS = {
    "": None,
    "tokens": ("more", "Size and direction"),
    "spectra": ("triplets_of", "What each triplet does"),
    "matrix": ("matrix_tab", "How far can I trust this?"),
    "layers?prompt=The+bridge+out": ("layer_tab", "The way to the last layer"),
    "steering": ("about", "Where the concept lives"),
    "compare": None,
}
HEIGHT = """() => document.querySelector('[data-testid="stMain"]').scrollHeight"""
SCROLLED = """() => document.querySelector('[data-testid="stMain"]').scrollTop"""


@pytest.fixture(scope="module")
def shared_page(app: App, chromium: Browser) -> Iterator[Page]:
    """One visitor who is told the story first, and then compares; on a laptop's screen."""
    problems: list[str] = []
    page = visit(chromium, app.url, height=800, problems=problems)
    expect(page.locator(".eq-sides")).to_be_visible(timeout=PATIENT)
    wait_finished(page)
    yield page
    page.context.close()
    assert not problems, "The browser reported:\n" + "\n".join(problems)


@pytest.fixture
def page(shared_page: Page, request: pytest.FixtureRequest) -> Page:
    """The shared page, of which a failing test leaves a picture."""
    request.node.stash.setdefault(PAGES, []).append(shared_page)
    return shared_page


def boxes(page: Page, selectors: str) -> list[dict[str, float]]:
    """Where what is seen of these stands in the window, in whole pixels."""
    found: list[dict[str, float]] = (
        page.locator(selectors)
        .locator("visible=true")
        .evaluate_all(
            "all => all.map(one => one.getBoundingClientRect()).map(({left, right, top, bottom}) =>"
            " ({left: Math.round(left), right: Math.round(right), top: Math.round(top), bottom: Math.round(bottom)}))"
        )
    )
    return found


def test_next_leads_through_the_story_and_every_step_is_one_screen(page: Page) -> None:
    pages = page.locator('[data-testid="stSidebarNavLink"]').evaluate_all("all => all.map(link => link.href)")
    told = []
    for number, (picture, leads_to) in enumerate(STEPS.items(), 1):
        expect(page.locator(picture).first).to_be_visible(timeout=PATIENT)
        wait_finished(page)
        seen = boxes(page, picture)
        assert seen
        for box in seen:
            assert box["top"] >= 0 <= box["left"], f"step {number}"
            assert box["bottom"] <= 800, f"step {number}"
            assert box["right"] <= 1280, f"step {number}"
        assert page.evaluate(SCROLLED) == 0
        expect(page.locator("h1")).to_have_count(1)
        told.append(page.locator("h1").inner_text())
        links = page.locator(".st-key-way-on a").evaluate_all("all => all.map(link => link.href)")
        assert links[0].rpartition("/")[2] == leads_to
        assert set(links) <= set(pages)
        following = page.get_by_role("button", name="Next", exact=True)
        assert following.count() == (number < len(STEPS))
        if number < len(STEPS):
            following.click()
            expect(page.locator("h1")).not_to_have_text(told[-1], timeout=PATIENT)
    assert len(set(told)) == len(STEPS)
    assert address(page)["step"].startswith("4 ")
    assert errors(page) == []
    page.get_by_role("slider", name="Strength λ", exact=True).press("ArrowRight")
    wait_idle(page)
    turned = page.locator(".eq-steered h2").inner_text()
    page.get_by_role("link", name="Type your own concept").click()
    expect(page.get_by_role("heading", name="What can it do?", level=1)).to_be_visible(timeout=PATIENT)
    wait_finished(page)
    assert page.locator(".eq-steered h2").inner_text() == turned, "the slider stands where it was left"


def test_a_pinned_prompt_is_compared_with_the_next_one_and_the_changes_sum_to_the_difference(
    page: Page, tmp_path: Path
) -> None:
    page.get_by_role("button", name="Pin", exact=True).click()
    wait_idle(page)
    open_page_named(page, "Compare")
    ask(page, PARIS)
    expect(page.locator(".stMain")).to_contain_text(PARIS, timeout=PATIENT)
    wait_finished(page)
    for prompt in (MARIN, PARIS):
        expect(page.locator(".stMain")).to_contain_text(prompt)
    a, b, change = sums(page, tmp_path)
    assert change == pytest.approx(b - a, abs=1e-3)
    open_tab(page, "Next tokens")
    for key in ("next-A", "next-B"):
        assert traces(page, key)
    assert address(page)["compared"] == "Next tokens"
    assert errors(page) == []


def test_the_parts_of_a_swapped_token_sum_to_what_the_model_changes_and_the_tab_is_in_the_address(
    page: Page, tmp_path: Path
) -> None:
    open_tab(page, "Swapped tokens")
    expect(chart(page, "counterfactual")).to_be_visible(timeout=PATIENT)
    wait_finished(page)
    expect(page.get_by_text("A's frozen map foresees")).to_be_visible()
    *parts, whole = downloaded_csv(page, "counterfactual", tmp_path)
    assert [row["part"] for row in parts] == ["map", "attention", "norms", "gates"]
    assert (parts[0]["token"], parts[0]["other"]) == (" Marin", " Paris")
    assert math.fsum(float(row["change"]) for row in parts) == pytest.approx(float(whole["change"]), abs=1e-4)
    assert address(page)["compared"] == "Swapped tokens"
    assert errors(page) == []
    open_tab(page, "What differs")
    wait_idle(page)


def test_two_maps_of_one_prompt_have_one_logit_and_other_terms(page: Page, tmp_path: Path) -> None:
    page.get_by_role("button", name="Unpin").click()
    wait_idle(page)
    page.get_by_role("button", name="Pin as A").click()
    wait_finished(page)
    assert sums(page, tmp_path)[2] == pytest.approx(0, abs=1e-4)
    published(page)
    wait_finished(page)
    a, b, change = sums(page, tmp_path)
    assert a == pytest.approx(b, abs=1e-3)
    assert change == pytest.approx(0, abs=1e-3)
    changes = [abs(float(row["change"])) for row in rows(page, tmp_path)]
    assert max(changes) > 0.1, "the terms differ"
    assert errors(page) == []
    assert tracebacks(page) == 0


@pytest.mark.slow
def test_two_precisions_of_one_prompt_differ_by_rounding(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page("/compare")
    page.get_by_role("button", name="Pin as A").click(timeout=PATIENT)
    wait_finished(page)
    choose(page, "Precision", "float64")
    analyse(page)
    expect(page.locator(".eq-strip").first).to_contain_text("float64", timeout=PATIENT)
    wait_finished(page)
    a, b, change = sums(page, tmp_path)
    assert 0 < abs(b - a) < 1e-4 * abs(a)
    assert change == pytest.approx(b - a, abs=1e-5)
    assert tracebacks(page) == 0


def rows(page: Page, folder: Path) -> list[dict[str, str]]:
    """The table of the chart that leads from A to B."""
    return downloaded_csv(page, "compared-terms", folder)


def sums(page: Page, folder: Path) -> tuple[float, float, float]:
    """A's total, B's, and the sum of all changes, in the table behind the chart; the chart says the same."""
    *parts, _rounding, total = rows(page, folder)
    a, b = float(total["a"]), float(total["b"])
    change = math.fsum(float(row["change"]) for row in parts)
    said = page.get_by_text("the changes sum to").inner_text()
    numbers = [float(text) for text in re.findall(r"[-+]?\d+\.?\d*(?:e-?\d+)?", said)[:3]]
    assert numbers == pytest.approx([a, b, change], abs=1e-2)
    return a, b, change


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in ("tokens", "layers"))) for name in TABS]
)
def test_a_page_is_two_screens_at_most_has_one_title_and_its_tab_is_a_link(open_page: OpenPage, name: str) -> None:
    page = open_page(f"/{name}")
    if name != "compare":
        expect(page.locator(".js-plotly-plot, .eq-sides").first).to_be_visible(timeout=PATIENT)
    wait_finished(page)
    assert page.evaluate(HEIGHT) <= HIGHEST
    assert page.locator("h1").count() == 1
    assert f"/{name}" == page.url[page.url.index("/", len("http://")) :], "what nobody chose is not in the address"
    tab = TABS[name]
    if tab is None:
        return
    assert tab[0] not in address(page), "the first tab goes without saying"
    open_tab(page, tab[1])
    assert address(page)[tab[0]] == tab[1]
    again = open_page(page.url[page.url.index("/", len("http://")) :])
    expect(again.get_by_role("tab", name=tab[1])).to_have_attribute("aria-selected", "true", timeout=PATIENT)
    wait_finished(again)
    assert opened_tab(again) == tab[1]
    assert address(again)[tab[0]] == tab[1]


@pytest.mark.slow
def test_nothing_moves_on_page_tokens_when_it_computes_the_same_or_looks_a_token_up(open_page: OpenPage) -> None:
    page = open_page("/tokens")
    wait_for_tokens(page, 7)
    wait_finished(page)
    before = places(page, "waterfall", "leave-one-out", "more")
    analyse(page)
    wait_finished(page)
    assert places(page, *before) == before
    choose(page, "Explained next token", "Venice")
    expect(chart(page, "waterfall")).to_contain_text("Venice", timeout=PATIENT)
    wait_finished(page)
    assert places(page, *before) == before


def test_nothing_moves_on_page_steering_when_lambda_does(open_page: OpenPage) -> None:
    page = open_page("/steering")
    expect(page.locator(".st-key-steering-metrics .js-plotly-plot")).to_be_visible(timeout=PATIENT)
    wait_finished(page)
    before = places(page, "strength-sliders", "about", "steering-metrics")
    slider = page.get_by_role("slider", name="Strength λ", exact=True)
    for press in ("End", "Home", "ArrowRight"):
        slider.press(press)
        wait_finished(page)
        assert places(page, *before) == before, press
    assert address(page)["lambda"] == "0.1"


def places(page: Page, *keys: str) -> dict[str, Any]:
    """Where these parts of the page begin, and how wide they are, in whole pixels from the top of the page."""
    found: dict[str, Any] = page.evaluate(
        """keys => {
            const scrolled = document.querySelector('[data-testid="stMain"]').scrollTop;
            return Object.fromEntries(keys.map(key => {
                const box = document.querySelector(`.st-key-${key}`)?.getBoundingClientRect();
                return [key, box && ['left', 'top', 'width'].map(side =>
                    Math.round(box[side] + (side === 'top' ? scrolled : 0)))];
            }));
        }""",
        keys,
    )
    assert None not in found.values()
    return found
