"""The page Steering in the browser: a finished grid follows the hand at once, a generation starts and stops."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

import pytest
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect

from tests.browser.analysis import open_tab, tracebacks
from tests.browser.conftest import PAGES, OpenPage
from tests.browser.server import App
from tests.browser.visit import visit, wait_finished, wait_idle

# Few tokens: the grid is as wide as always, and the tests do not wait for long texts.
TOKENS = "new_tokens=3&prompt=Hi"
ADDRESS = f"/steering?{TOKENS}"
PATIENT = 120_000
AT_ONCE = 0.3
KEPT = "What you see below is the previous result."


@pytest.fixture(scope="module")
def finished_page(app: App, chromium: Browser) -> Iterator[Page]:
    """One visitor with a finished grid, for all tests here; each leaves the page with a grid that is shown."""
    problems: list[str] = []
    page = visit(chromium, app.url + ADDRESS, height=1000, problems=problems)
    expect(steered(page)).to_be_visible(timeout=PATIENT)
    wait_finished(page, quiet=0.5)
    yield page
    page.context.close()
    assert not problems, "The browser reported:\n" + "\n".join(problems)


@pytest.fixture
def page(finished_page: Page, request: pytest.FixtureRequest) -> Page:
    """The shared page, of which a failing test leaves a picture."""
    request.node.stash.setdefault(PAGES, []).append(finished_page)
    return finished_page


def steered(page: Page) -> Locator:
    return page.locator(".eq-steered").first  # while a page is drawn anew, what was there stands beside it


def continuation(page: Page, which: str = ".eq-steered") -> str:
    """The text below the heading."""
    return page.locator(which).inner_text().split("\n", 1)[1]


def slider(page: Page, name: str = "Strength λ") -> Locator:
    return page.get_by_role("slider", name=name, exact=True)


def seconds_until_the_text_changes(page: Page, before: str, since: float) -> float:
    page.wait_for_function(
        "before => document.querySelector('.eq-steered')?.innerText !== before", arg=before, polling=10
    )
    return time.perf_counter() - since


def prompt(page: Page, text: str) -> None:
    """Type another new prompt and steer it, once the page has heard of it."""
    for _ in range(3):  # a form that is drawn anew just then may take away what a script typed faster than a hand
        page.get_by_role("textbox", name="New prompt").fill(text)
        page.get_by_role("textbox", name="New prompt").press("Enter")
        with suppress(TimeoutError):
            page.get_by_text("press Steer.", exact=False).wait_for(timeout=20_000)
            wait_idle(page)
            if page.get_by_role("textbox", name="New prompt").input_value() == text:
                break
    page.get_by_role("button", name="Steer", exact=True).click()


def test_the_text_follows_the_arrow_keys_at_once(page: Page) -> None:
    expect(page.get_by_role("heading", name="Unsteered")).to_be_visible()
    slider(page).focus()
    taken = []
    for key in ["ArrowRight"] * 5 + ["ArrowLeft"] * 5:
        before, start = steered(page).inner_text(), time.perf_counter()
        page.keyboard.press(key)
        taken.append(seconds_until_the_text_changes(page, before, start))
    assert median(taken) < AT_ONCE
    wait_idle(page)
    expect(page).to_have_url(re.compile(r"lambda=1(&|$)"))


def test_the_text_follows_the_hand_while_it_drags(page: Page) -> None:
    box = slider(page).bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    seen, taken = set(), []
    for share in (0.35, 0.2, 0.05, 0.3, 0.6, 0.8):
        before, start = steered(page).inner_text(), time.perf_counter()
        page.mouse.move(box["x"] + share * box["width"], middle)
        taken.append(seconds_until_the_text_changes(page, before, start))  # the button is still down
        seen.add(continuation(page))
    assert median(taken) < AT_ONCE
    assert len(seen) > 2, "not only the heading changes"
    page.mouse.up()
    wait_idle(page)
    expect(page).to_have_url(re.compile(r"lambda=1\.6(&|$)"))
    expect(steered(page).get_by_role("heading")).to_have_text("Steered, λ = 1.60")


def test_at_strength_zero_both_texts_are_the_same(page: Page) -> None:
    slider(page).focus()
    page.keyboard.press("Home")
    expect(steered(page).get_by_role("heading")).to_have_text("Steered, λ = 0.00")
    expect(steered(page).locator("mark")).to_have_count(0)
    assert continuation(page) == continuation(page, ".eq-unsteered")
    expect(page.locator(".eq-numbers")).to_contain_text(re.compile(r"KL from unsteered 0 random 0(?!\.)"))
    wait_idle(page)


# Tops and heights, in pixels, of what stands from the form down to the tabs, whatever is scrolled.
PLACES = """() => {
    const top = document.querySelector('[data-testid="stMain"]').scrollTop;
    const of = (name, element) => {
        const box = element.getBoundingClientRect();
        return [name, Math.round(box.top + top), Math.round(box.height)];
    };
    const found = [...document.querySelectorAll('.eq-sliders, .eq-texts h2, .eq-texts section > div')].map(
        (element, i) => of(i, element));
    const tabs = document.querySelector('[data-testid="stTabs"]');
    return JSON.stringify([...found, ...(tabs ? [of('tabs', tabs).slice(0, 2)] : [])]);
}"""


# While a page is drawn anew, what was there stands beside it for a moment, or the sliders are not filled yet.
WHOLE = "document.querySelectorAll('.eq-sliders').length === 1 && document.querySelector('.eq-sliders label')"


def test_nothing_moves_when_the_strength_is_changed(page: Page) -> None:
    slider(page).focus()
    seen = set()
    for key in ("Home", "ArrowRight", "PageUp", "End"):
        page.keyboard.press(key)
        wait_idle(page)
        seen.add(page.evaluate(PLACES))
    assert len(seen) == 1, seen


@pytest.mark.slow
def test_nothing_moves_when_steer_is_pressed_and_what_is_old_says_so(page: Page) -> None:
    before, text = page.evaluate(PLACES), "The tallest tower in the city is the"
    page.get_by_role("textbox", name="New prompt").fill(text)
    page.get_by_role("textbox", name="New prompt").press("Enter")
    expect(page.get_by_text("press Steer.", exact=False)).to_be_visible()
    expect(page.locator(".st-key-steered")).to_have_css("opacity", "0.45")
    assert page.evaluate(PLACES) == before
    # What is seen twice in a row: a frame in which the browser has not laid out the new page yet moves nothing.
    page.evaluate(
        f"""() => {{
            window.seen = new Set();
            setInterval(() => {{
                const now = {WHOLE} ? ({PLACES})() : null;
                if (now !== null && now === window.last) seen.add(now);
                window.last = now;
            }}, 50);
        }}"""
    )
    page.get_by_role("button", name="Steer", exact=True).click()
    expect(steered(page)).to_contain_text(text, timeout=PATIENT)
    wait_finished(page, quiet=0.5)
    assert page.evaluate("() => [...window.seen]") == [before]
    expect(page.locator(".st-key-steered")).to_have_css("opacity", "1")
    expect(page.get_by_text("press Steer.", exact=False)).to_have_count(0)


def test_a_text_between_two_strengths_of_the_grid_is_generated(page: Page) -> None:
    open_tab(page, "Any other strength")
    page.get_by_role("spinbutton", name="Any other strength").fill("0.975")
    page.get_by_role("spinbutton", name="Any other strength").press("Enter")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("heading", name="Steered, λ = 0.975")).to_be_visible(timeout=PATIENT)
    wait_finished(page, quiet=0.5)
    expect(page.get_by_role("heading", name="Steered, λ = 0.975")).to_be_visible()
    open_tab(page, "What the strength does")


def test_an_address_holds_the_view(open_page: OpenPage) -> None:
    address = "/steering?concept=The+Golden+Gate+Bridge&onto=Here+is+a+painting+of+the&depth=20&norm=false"
    page = open_page(f"{address}&{TOKENS}&lambda=0.4")
    expect(steered(page).get_by_role("heading")).to_have_text("Steered, λ = 0.40", timeout=PATIENT)
    expect(steered(page)).to_contain_text("Here is a painting of the")
    expect(page.get_by_role("textbox", name="Concept", exact=True)).to_have_value("The Golden Gate Bridge")


def test_a_prompt_that_cannot_be_steered_says_so_and_keeps_the_last_result(page: Page) -> None:
    before = steered(page).inner_text()
    prompt(page, "word " * 9000)
    expect(page.get_by_text(KEPT)).to_be_visible(timeout=60_000)
    assert steered(page).inner_text() == before


def test_a_saved_operator_steers_and_one_of_another_model_is_refused(page: Page, tmp_path: Path) -> None:
    heading = steered(page).get_by_role("heading").inner_text()
    open_tab(page, "Operator")
    assert steered(page).get_by_role("heading").inner_text() == heading, "a tab that is opened moves no slider"
    with page.expect_download() as started:
        page.get_by_role("button", name="Operator", exact=True).click()
    saved = tmp_path / "bridge.safetensors"
    started.value.save_as(saved)
    foreign = tmp_path / "foreign.safetensors"
    another_models_operator().save(foreign)
    before = continuation(page, ".eq-unsteered")
    page.get_by_role("textbox", name="New prompt").fill("The tallest building in the city is the")
    page.get_by_role("textbox", name="New prompt").press("Enter")
    wait_idle(page)

    upload(page, foreign)
    refused = page.get_by_text("does not fit smollm2-135m: its width is 32, the model's 576; make it from this model.")
    expect(refused).to_be_visible(timeout=PATIENT)
    expect(page.get_by_text(KEPT)).to_be_visible()
    assert continuation(page, ".eq-unsteered") == before

    upload(page, saved)
    expect(steered(page)).to_contain_text("The tallest building", timeout=PATIENT)
    expect(refused).to_have_count(0)
    expect(page.get_by_role("textbox", name="Concept", exact=True)).to_be_disabled()
    assert not tracebacks(page)


def another_models_operator():
    from eqlin_core.audit.families import tiny_model
    from eqlin_core.steering.operators import steering_operator

    return steering_operator(tiny_model("llama"), token_ids=[9, 4, 31], layers=2)


def upload(page: Page, path: Path) -> None:
    page.get_by_role("button", name="Settings").click()
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(path)
    expect(page.get_by_test_id("stFileUploader").get_by_text(path.name)).to_be_visible()
    wait_idle(page)
    page.keyboard.press("Escape")


def test_two_concepts_have_two_sliders_and_an_angle(page: Page) -> None:
    page.get_by_role("textbox", name="Second concept").fill("The ocean")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Steer", exact=True).click()
    second = slider(page, "Strength of the second concept")
    expect(second).to_be_visible(timeout=PATIENT)
    open_tab(page, "Operator")
    expect(page.get_by_text("The two operators stand at")).to_be_visible(timeout=PATIENT)
    expect(steered(page).get_by_role("heading")).to_have_text(re.compile(r"λ = \d\.\d\d and 0\.40"))
    second.focus()
    taken = []
    for key in ("End", "Home", "End"):
        before, start = steered(page).inner_text(), time.perf_counter()
        page.keyboard.press(key)
        taken.append(seconds_until_the_text_changes(page, before, start))
    assert median(taken) < AT_ONCE
    expect(steered(page).get_by_role("heading")).to_have_text(re.compile(r"λ = \d\.\d\d and 1\.60"))
    expect(page).to_have_url(re.compile(r"lambda2=1\.6(&|$)"))  # the server has heard of it
    wait_idle(page)


def test_a_preset_loads_and_a_generation_starts_and_stops(page: Page) -> None:
    page.get_by_text("Dragon", exact=True).click()
    expect(page.get_by_role("textbox", name="New prompt")).to_have_value(
        "Scientists have discovered a new", timeout=PATIENT
    )
    expect(page.get_by_role("textbox", name="Concept", exact=True)).to_be_enabled()
    expect(steered(page)).to_contain_text("Scientists have", timeout=PATIENT)
    wait_finished(page, quiet=0.5)  # the texts stand there while they grow, too
    expect(page).to_have_url(re.compile(r"onto=Scientists"))
    expect(page).to_have_url(re.compile(r"lambda=0\.5(&|$)"))
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("spinbutton", name="New tokens").fill("150")  # it shall not be finished before it is stopped
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    wait_idle(page)  # the form is drawn anew, which would take a prompt that was typed meanwhile away
    prompt(page, "Here is a long story about the")
    expect(page.get_by_text("Here is a long story about the").first).to_be_visible(timeout=PATIENT)
    page.get_by_role("button", name="Cancel", exact=True).click(timeout=60_000)
    expect(page.get_by_text("Cancelled")).to_be_visible(timeout=60_000)
    expect(page.locator('[data-testid="stProgress"]')).to_have_count(0)
    expect(steered(page)).to_contain_text("Scientists have")


def test_an_address_that_asks_for_what_does_not_exist_is_mended(open_page: OpenPage) -> None:
    page = open_page(f"{ADDRESS}&inject=77&lambda=1e300&lambda2=nan")
    expect(steered(page).get_by_role("heading")).to_have_text("Steered, λ = 2.00", timeout=PATIENT)
    wait_idle(page)
    assert not tracebacks(page)
