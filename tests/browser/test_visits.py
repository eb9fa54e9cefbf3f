"""Visits to the running app with the real default model: long jobs, several visitors, bad input, themes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.analysis import (
    PATIENT,
    PLOT,
    TOKEN_TABS,
    analyse,
    ask,
    axis_title,
    badge,
    cancel,
    chart,
    charts,
    chips,
    choose,
    errors,
    facts,
    fresh,
    open_page_named,
    open_tab,
    progress,
    prompt_box,
    tracebacks,
    traces,
    wait_for_tokens,
    warnings,
)
from tests.browser.conftest import OpenPage
from tests.browser.visit import Theme, wait_finished, wait_idle

MARIN_TOKENS = 7
# Each of these words is one token, so the matrix takes long enough to be cancelled, and the contributions do not.
LONG = "one two three four five six seven eight nine ten eleven twelve " * 4
KEPT = "What you see below is the previous result."


@pytest.fixture
def first_page(open_page: OpenPage) -> Page:
    """Page Tokens of the first prompt with its contributions drawn."""
    page = open_page("/tokens")
    wait_for_tokens(page, MARIN_TOKENS)
    return page


@pytest.mark.slow
def test_a_long_matrix_can_be_cancelled_and_resumed_and_the_contributions_stay(first_page: Page) -> None:
    ask(first_page, LONG)
    wait_for_tokens(first_page, 49)
    expect(progress(first_page)).to_be_visible()
    expect(progress(first_page)).to_contain_text(re.compile(r"Matrix, \d+%"), timeout=PATIENT)
    drawn = charts(first_page, TOKEN_TABS)

    first_page.get_by_role("button", name="Cancel").click()
    expect(progress(first_page)).to_be_hidden(timeout=30_000)
    expect(first_page.get_by_text("Cancelled before the spectra were finished")).to_be_visible()
    wait_idle(first_page)
    assert charts(first_page, TOKEN_TABS) == drawn
    open_page_named(first_page, "Spectra")
    assert errors(first_page) == []

    first_page.get_by_role("button", name="Compute the spectra").click()
    expect(progress(first_page)).to_be_visible(timeout=30_000)
    cancel(first_page)


@pytest.mark.slow
def test_a_reloaded_page_does_not_wait_for_what_was_asked_before(first_page: Page) -> None:
    ask(first_page, LONG * 4)
    wait_for_tokens(first_page, 193)
    expect(progress(first_page)).to_contain_text(re.compile(r"Matrix, \d+%"), timeout=PATIENT)
    first_page.goto(f"{first_page.url.partition('?')[0]}?prompt=Hello+world")
    wait_for_tokens(first_page, 2)
    wait_finished(first_page, timeout=60)  # the matrix of 193 tokens takes minutes
    assert errors(first_page) == []


def test_a_second_visitor_gets_an_analysis_while_the_first_one_s_matrix_is_computed(
    first_page: Page, open_page: OpenPage
) -> None:
    ask(first_page, LONG)
    wait_for_tokens(first_page, 49)
    expect(progress(first_page)).to_contain_text(re.compile(r"Matrix, \d+%"), timeout=PATIENT)
    second = open_page("/tokens?prompt=Good+day")
    wait_for_tokens(second, 2)
    wait_finished(second)
    assert chips(second) == ["Good", "·day"]
    expect(progress(first_page)).to_be_visible()
    expect(progress(first_page)).to_contain_text(re.compile(r"Matrix, \d+%"))
    assert chips(first_page)[-2] == "·twelve"
    cancel(first_page)
    assert errors(first_page) == errors(second) == []


@pytest.mark.slow
def test_what_a_closed_tab_had_asked_for_is_in_nobody_s_way(first_page: Page, open_page: OpenPage) -> None:
    ask(first_page, LONG)
    wait_for_tokens(first_page, 49)
    expect(progress(first_page)).to_contain_text(re.compile(r"Matrix, \d+%"), timeout=PATIENT)
    first_page.context.close()
    second = open_page("/tokens?prompt=Good+evening")
    wait_for_tokens(second, 2)
    second.wait_for_timeout(6_000)  # a tab that was closed is not waited for longer
    ask(second, LONG)
    wait_for_tokens(second, 49)
    expect(progress(second)).to_contain_text(re.compile(r"Matrix, \d+%"), timeout=PATIENT)
    for _ in range(4):  # nothing is there to give way to
        expect(progress(second)).not_to_contain_text("gives way")
        second.wait_for_timeout(700)
    cancel(second)


def test_a_reload_in_the_middle_of_a_job_finds_the_contributions_and_the_job_again(first_page: Page) -> None:
    ask(first_page, "Hello my friend")
    wait_for_tokens(first_page, 3)
    drawn = [trace["y"] for trace in traces(first_page, "waterfall")]
    first_page.reload()
    wait_for_tokens(first_page, 3)
    assert [trace["y"] for trace in traces(first_page, "waterfall")] == drawn
    wait_finished(first_page)
    open_page_named(first_page, "Spectra")
    assert len(traces(first_page, "singular-values")) == 3
    assert errors(first_page) == []


@pytest.mark.slow
def test_two_visitors_with_the_same_request_see_the_same_numbers(open_page: OpenPage) -> None:
    pages = [open_page("/tokens?prompt=Hello+world") for _ in range(2)]
    for page in pages:
        wait_for_tokens(page, 2)
    assert charts(pages[0], TOKEN_TABS) == charts(pages[1], TOKEN_TABS)
    for page in pages:
        wait_finished(page)
        assert errors(page) == []


def test_choosing_analyse_three_times_quickly_gives_one_result(first_page: Page) -> None:
    prompt_box(first_page).fill("Hello world")
    for _ in range(3):
        analyse(first_page)
    wait_for_tokens(first_page, 2)
    wait_finished(first_page)
    assert chips(first_page) == ["Hello", "·world"]
    assert errors(first_page) == warnings(first_page) == []
    expect(first_page.get_by_text("Cancelled")).to_be_hidden()


def no_words(page: Page) -> str:
    ask(page, "")
    return "The prompt is empty: type at least one word."


def only_spaces(page: Page) -> str:
    ask(page, "   ")
    return "The prompt is empty: type at least one word."


def too_many_words(page: Page) -> str:
    ask(page, "word " * 10_000)
    return "The prompt has 10001 tokens and this model reads at most 8192; shorten it."


def unknown_model(page: Page) -> str:
    choose(page, "Model", "no such model")
    ask(page, "Hello world")
    return "There is no model or folder 'no such model': check the spelling."


SLOW = pytest.mark.slow  # the same way, with another sentence


@pytest.mark.parametrize(
    "mistake",
    [pytest.param(no_words, marks=SLOW), only_spaces, too_many_words, pytest.param(unknown_model, marks=SLOW)],
)
def test_bad_input_gives_one_clear_sentence_and_keeps_the_result_and_what_was_typed(
    first_page: Page, mistake: Callable[[Page], str]
) -> None:
    wait_finished(first_page)
    before = charts(first_page, TOKEN_TABS)
    strip, shown = facts(first_page), chips(first_page)
    sentence = mistake(first_page)
    typed = prompt_box(first_page).input_value()
    expect(first_page.get_by_text(sentence)).to_be_visible(timeout=PATIENT)
    wait_finished(first_page)
    assert [error.splitlines()[-1] for error in errors(first_page)] == [f"{sentence} {KEPT}"]
    assert tracebacks(first_page) == 0
    assert charts(first_page, TOKEN_TABS) == before
    assert (facts(first_page), chips(first_page)) == (strip, shown)
    assert prompt_box(first_page).input_value() == typed

    open_page_named(first_page, "Spectra")
    assert len(traces(first_page, "singular-values")) == MARIN_TOKENS


def test_the_sentence_goes_when_the_next_prompt_is_good(first_page: Page) -> None:
    ask(first_page, "   ")
    expect(first_page.locator('[data-testid="stAlertContentError"]')).to_be_visible(timeout=PATIENT)
    ask(first_page, "Hello world")
    wait_for_tokens(first_page, 2)
    assert errors(first_page) == []
    cancel(first_page)


def test_emoji_and_right_to_left_text_are_a_prompt_like_any_other(first_page: Page) -> None:
    prompt = "שלום 👩‍🚀 مرحبا"
    ask(first_page, prompt)
    wait_for_tokens(first_page, 18)
    cancel(first_page)
    assert len(chips(first_page)) == 18
    open_tab(first_page, "Size and direction")
    assert [len(bars["y"]) for bars in traces(first_page, "norms")] == [18, 18]
    assert prompt_box(first_page).input_value() == prompt
    assert errors(first_page) == []
    assert tracebacks(first_page) == 0


def test_a_prompt_of_one_token_is_analysed(open_page: OpenPage) -> None:
    page = open_page("/tokens?prompt=Hello")
    wait_for_tokens(page, 1)
    bias, term, logit = traces(page, "waterfall")[0]["y"]
    assert bias + term == pytest.approx(logit, rel=1e-5)
    wait_finished(page)
    open_page_named(page, "Spectra")
    assert len(traces(page, "singular-values")) == 1
    assert errors(page) == []


def test_a_link_brings_its_precision_and_float64_is_exact_to_a_dozen_digits(open_page: OpenPage) -> None:
    page = open_page("/tokens?prompt=Hello+world&dtype=float64")
    expect(page.locator(".eq-strip")).to_contain_text("float64", timeout=PATIENT)
    wait_for_tokens(page, 2)
    assert float(badge(page).inner_text().split("error")[1].split()[0]) < 1e-13
    *parts, logit = traces(page, "waterfall")[0]["y"]
    assert sum(parts) == pytest.approx(logit, abs=1e-11)
    assert "(float64)" in page.locator("[data-testid=stCaptionContainer]", has_text="the logit is").inner_text()
    cancel(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_charts_stand_on_the_background_of_the_theme(open_page: OpenPage, theme: Theme) -> None:
    page = open_page("/tokens", theme=theme)
    wait_for_tokens(page, MARIN_TOKENS)
    assert (luminance(page_background(page)) < 0.5) == (theme == "dark")
    for tab, keys in TOKEN_TABS.items():
        if tab:
            open_tab(page, tab)
        for key in keys:
            assert channels(paper(page, key)) == page_background(page)


@pytest.mark.slow
def test_a_change_of_the_theme_redraws_the_charts_in_its_colours(open_page: OpenPage) -> None:
    page = open_page("/tokens", theme="light")
    wait_for_tokens(page, MARIN_TOKENS)
    light = paper(page, "waterfall"), axis_title(page, "waterfall")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "([plot, before]) => ![undefined, before].includes(document.querySelector(plot)?.layout.paper_bgcolor)",
        arg=[fresh("waterfall", PLOT), light[0]],
        timeout=PATIENT,
    )
    wait_idle(page)
    for tab, keys in TOKEN_TABS.items():
        if tab:
            open_tab(page, tab)
        for key in keys:
            assert channels(paper(page, key)) == page_background(page)
    assert luminance(page_background(page)) < 0.5
    assert axis_title(page, "waterfall") == light[1]


def paper(page: Page, key: str) -> str:
    """The background that a chart was drawn with."""
    found: str = chart(page, key).evaluate("chart => chart.layout.paper_bgcolor")
    return found


def page_background(page: Page) -> tuple[int, ...]:
    """The background of the page."""
    app = page.get_by_test_id("stApp")
    return channels(app.evaluate("app => getComputedStyle(app).backgroundColor"))


def channels(colour: str) -> tuple[int, ...]:
    """Red, green and blue of "#rrggbb" or "rgb(...)"."""
    if colour.startswith("#"):
        return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return tuple(int(number) for number in re.findall(r"\d+", colour)[:3])


def luminance(colour: tuple[int, ...]) -> float:
    """From 0, black, to 1, white."""
    return (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255
