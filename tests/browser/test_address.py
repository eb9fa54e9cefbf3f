"""History and links: Back and Forward walk through the analyses, and a long prompt is linked by its run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.analysis import (
    CHIPS,
    MARIN,
    PATIENT,
    address,
    analyse,
    ask,
    chart,
    open_page_named,
    part,
    prompt_box,
    tracebacks,
    wait_for_tokens,
)
from tests.browser.conftest import OpenPage
from tests.browser.server import App, running_app
from tests.browser.visit import visit, wait_idle

PROMPTS = (MARIN, "The capital of France is", "The capital of Italy is")
LONG = "The bridge " + 1600 * "=" + " is"  # of few tokens


def shows(page: Page, prompt: str) -> None:
    """The prompt stands in the form, and its analysis on the page."""
    expect(prompt_box(page)).to_have_value(prompt, timeout=PATIENT)
    words = prompt.split()
    expect(page.locator(CHIPS).last).to_contain_text(words[-1], timeout=PATIENT)
    wait_for_tokens(page, len(words))
    assert not tracebacks(page)


def test_back_and_forward_walk_through_three_prompts(open_page: OpenPage) -> None:
    page = open_page("/tokens")
    for prompt in PROMPTS:
        if prompt != MARIN:
            ask(page, prompt)
        shows(page, prompt)
    page.get_by_role("tab", name="Size and direction").click()
    wait_idle(page)
    for prompt in PROMPTS[1::-1]:
        page.go_back()
        shows(page, prompt)
    for prompt in PROMPTS[1:]:
        page.go_forward()
        shows(page, prompt)
    assert address(page)["prompt"] == PROMPTS[2]


@pytest.fixture
def keeping_app(tmp_path: Path) -> Iterator[App]:
    """A server that keeps its runs."""
    with running_app(environment={"EQLIN_KEPT_RUNS": str(tmp_path)}) as app:
        yield app


@pytest.mark.slow
def test_a_long_prompt_is_linked_by_its_run(keeping_app: App, chromium: Browser) -> None:
    page = visit(chromium, keeping_app.url + "/tokens")
    shows(page, MARIN)
    ask(page, LONG)
    page.wait_for_url("**run=*", timeout=PATIENT)
    assert "prompt" not in address(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    part(page, "strip", "button").filter(has_text="Link").click()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url
    other = visit(chromium, link)
    expect(prompt_box(other)).to_have_value(LONG, timeout=PATIENT)
    ask(other, MARIN)
    shows(other, MARIN)
    assert "run" not in address(other)
    for one in (page, other):
        one.context.close()


@pytest.mark.slow
def test_a_long_answer_is_linked_by_its_run_once_page_answer_has_it(keeping_app: App, chromium: Browser) -> None:
    page = visit(chromium, keeping_app.url + "/tokens")
    shows(page, MARIN)
    page.locator("summary").filter(has_text="Answer").click()
    answer_box(page).fill(LONG)
    analyse(page)
    link = part(page, "strip", "button").filter(has_text="Link")
    expect(link).to_be_disabled(timeout=PATIENT)
    expect(link).to_have_attribute("title", re.compile("^The answer is too long .*page Answer makes one"))
    open_page_named(page, "Answer")
    chart(page, "answer-map")
    page.wait_for_url("**run=*", timeout=PATIENT)
    assert not {"prompt", "answer"} & set(address(page))
    expect(link).to_be_enabled(timeout=PATIENT)
    other = visit(chromium, page.url)
    expect(answer_box(other)).to_have_value(LONG, timeout=PATIENT)
    expect(prompt_box(other)).to_have_value(MARIN)
    for one in (page, other):
        assert not tracebacks(one)
        one.context.close()


def answer_box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="What follows the prompt")
