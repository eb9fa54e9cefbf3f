"""Page Answer, chats, and the text that can be clicked, with the real default model."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.analysis import (
    ANSWERED,
    CHIPS,
    MARIN,
    PATIENT,
    address,
    analyse,
    ask,
    cancel,
    chart,
    choose,
    errors,
    explained_token,
    matrix,
    open_page_named,
    part,
    prompt_box,
    text_token,
    tracebacks,
    traces,
)
from tests.browser.conftest import OpenPage
from tests.browser.visit import wait_idle

FRANCE = "The capital of France is"
MARINS = 7  # tokens of the first prompt, whose answer in these tests has four
GOLDEN = ["·Golden", "·Gate", "·Bridge", "."]
QUESTION = "user: Is 2 even?\nassistant: Yes, it is.\nuser: And is 3 even?"
CHAT = "as_chat=true&prompt=" + QUESTION.replace("\n", "%0A").replace(" ", "+").replace("?", "%3F")
# What Plotly has drawn: the rows' labels, the frame, and where the middle of a cell is.
ROWS = "map => map._fullLayout.yaxis.ticktext.map(label => label.replace(/<[^>]*>/g, '').split('  ')[0])"
COLUMNS = "map => map._fullLayout.xaxis.ticktext.map(label => label.replace(/<[^>]*>/g, ''))"
FRAME = "map => map.layout.shapes.filter(shape => shape.type === 'rect').map(shape => [shape.y0, shape.y1])"
CELL = """(map, [row, column]) => {
    const area = map.querySelector('.nsewdrag').getBoundingClientRect(), {xaxis, yaxis} = map._fullLayout;
    return [area.left + xaxis.d2p(column), area.top + yaxis.d2p(row)];
}"""


def heat_map(page: Page) -> Locator:
    """The heat map of page Answer."""
    return chart(page, "answer-map")


def tokens_of(page: Page) -> list[str]:
    """What the text of page Answer shows."""
    return part(page, "box-answer-text", ".eq-token:not(:last-child)").all_inner_texts()


def answer_box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="What follows the prompt")


def asks(page: Page) -> Locator:
    """The button by which the model answers."""
    return page.get_by_role("button", name="Let the model answer")


def generate(page: Page, times: int = 1) -> None:
    """Press it, as often as is said before the page can follow."""
    asks(page).evaluate("(button, times) => { for (; times; times--) button.click(); }", times, timeout=PATIENT)


def position_box(page: Page) -> Locator:
    return page.locator(".st-key-position input")


def answer_facts(page: Page) -> dict[str, str]:
    """The line of numbers above the heat map."""
    return {name: said for name, said in facts_of(page) if name}


def facts_of(page: Page) -> list[tuple[str, str]]:
    cells: list[Any] = page.locator(".stMain .eq-fact").evaluate_all(
        "cells => cells.map(cell => { const name = cell.querySelector('b').innerText;"
        " return [name, cell.innerText.slice(name.length).trim()]; })"
    )
    return [(str(name), str(said)) for name, said in cells]


def is_at(page: Page, key: str, words: str, position: int | None) -> None:
    """The text explains this token, and the address says so."""
    expect(explained_token(page, key)).to_have_text(words, timeout=PATIENT)
    page.wait_for_function(
        "place => new URL(location.href).searchParams.get('position') === place",
        arg=None if position is None else str(position),
        timeout=PATIENT,
    )
    assert tracebacks(page) == 0


def test_the_model_answers_and_a_click_on_a_row_explains_it_on_every_page(open_page: OpenPage) -> None:
    page = open_page(f"/answer?prompt={FRANCE.replace(' ', '+')}")
    expect(page.get_by_text("There is no answer yet")).to_be_visible(timeout=PATIENT)
    generate(page)
    rows: list[str] = heat_map(page).evaluate(ROWS)
    text = tokens_of(page)
    assert text[:6] == ["The", "·capital", "·of", "·France", "·is", "·Paris"]
    assert rows == text[5:]
    cells = matrix(traces(page, "answer-map")[0])
    assert [len(row) for row in cells] == [len(text)] * len(rows)
    assert [sum(not math.isnan(cell) for cell in row) for row in cells] == [5 + r for r in range(len(rows))]
    said = answer_facts(page)
    assert said["answer"] == f"{len(rows)} tokens"
    error, bound = re.findall(r"\de-\d+|\d\.\de-\d+", said["rows sum to it within"])
    assert 0 < float(error) < float(bound) <= 1e-4
    assert (
        address(page)["answer"]
        == answer_box(page).input_value()
        == "".join(text[5:]).replace("·", " ").replace("⏎", "\n")
    )

    heat_map(page).scroll_into_view_if_needed()
    wait_idle(page)
    page.mouse.move(*heat_map(page).evaluate(CELL, [4, 1]))
    page.mouse.click(*heat_map(page).evaluate(CELL, [4, 1]))
    is_at(page, "answer-text", rows[4], 5 + 4 - 1)
    expect(page.get_by_role("heading", name=f"How the log-probability of {rows[4]} comes about")).to_be_visible(
        timeout=PATIENT
    )
    assert heat_map(page).evaluate(FRAME) == [[3.5, 4.5]]
    cancel(page)
    assert errors(page) == []


@pytest.mark.slow
def test_a_word_of_the_answer_is_explained_on_every_page(open_page: OpenPage) -> None:
    page = open_page(f"/answer?{ANSWERED}")
    heat_map(page)
    assert tokens_of(page)[MARINS:] == GOLDEN
    is_at(page, "answer-text", "·Golden", None)
    text_token(page, "answer-text", "·Bridge").click()
    is_at(page, "answer-text", "·Bridge", 8)
    for name, key in (("Tokens", "chips"), ("Spectra", "text"), ("Matrix", "text"), ("Layers", "text")):
        open_page_named(page, name)
        is_at(page, key, "·Bridge", 8)
        if name in ("Tokens", "Layers"):
            chosen = page.get_by_role("combobox", name="Explained next token", exact=True)
            expect(chosen).to_have_value("·Bridge", timeout=PATIENT)
    open_page_named(page, "Tokens")
    chart(page, "waterfall")
    expect(page.get_by_text("With the other exact maps")).to_be_visible(timeout=PATIENT)
    assert traces(page, "waterfall")[0]["y"][1 : MARINS + 3] != []
    assert len(traces(page, "waterfall")[0]["y"]) == 1 + 9 + 1, "what comes after the position is no part of it"
    assert errors(page) == []


@pytest.mark.slow
def test_a_click_in_a_prompt_moves_its_end_and_a_new_prompt_forgets_that(open_page: OpenPage) -> None:
    page = open_page("/tokens")
    expect(page.locator(CHIPS)).to_have_count(MARINS, timeout=PATIENT)
    text_token(page, "chips", "·Marin").click()
    is_at(page, "chips", "·Marin", 3)
    expect(page.get_by_role("combobox", name="Explained next token", exact=True)).to_have_value(
        "·Marin", timeout=PATIENT
    )
    expect(page.locator(".eq-strip")).to_contain_text(re.compile(r"text up to here\s*4 tokens"), timeout=PATIENT)
    expect(page.locator(CHIPS)).to_have_count(MARINS, timeout=PATIENT)  # the whole text stays

    page.go_back()
    is_at(page, "chips", "next", None)
    page.go_forward()
    is_at(page, "chips", "·Marin", 3)
    wait_idle(page)

    ask(page, "Hello world")
    expect(page.locator(CHIPS)).to_have_count(2, timeout=PATIENT)
    is_at(page, "chips", "next", None)
    cancel(page)
    assert errors(page) == []


@pytest.mark.slow
def test_an_example_forgets_chat_answer_and_position(open_page: OpenPage) -> None:
    page = open_page(f"/tokens?as_chat=true&prompt=user:+Hi&position=2&{ANSWERED}")
    expect(explained_token(page, "chips")).to_have_count(1, timeout=PATIENT)
    choose(page, "Example prompts", FRANCE)
    expect(page.locator(CHIPS)).to_have_count(5, timeout=PATIENT)
    is_at(page, "chips", "next", None)
    assert not {"as_chat", "answer", "position"} & set(address(page))
    assert not page.get_by_role("switch", name="Chat").is_checked()
    cancel(page)
    assert errors(page) == []


@pytest.mark.slow
def test_mistakes_get_one_sentence_and_the_answer_stays(open_page: OpenPage) -> None:
    page = open_page(f"/answer?{ANSWERED}")
    before = heat_map(page).evaluate(ROWS)
    position_box(page).fill("999")
    analyse(page)
    alert = page.locator('[data-testid="stAlertContentError"]')
    expect(alert).to_contain_text("Position 999 does not exist: the text has 11 tokens", timeout=PATIENT)
    expect(alert).to_have_count(1)
    assert heat_map(page).evaluate(ROWS) == before

    position_box(page).fill("")
    page.locator(".st-key-as_chat label").first.click()
    ask(page, "user:")
    expect(alert).not_to_contain_text("999", timeout=PATIENT)
    wait_idle(page)
    assert len(errors(page)) == 1
    assert tracebacks(page) == 0
    assert heat_map(page).evaluate(ROWS) == before

    page.locator(".st-key-as_chat label").first.click()
    answer_box(page).fill(" 👩‍🚀\n\n- שלום\n")
    ask(page, MARIN)
    expect(alert).to_have_count(0, timeout=PATIENT)
    expect(part(page, "box-answer-text", "br")).to_have_count(3, timeout=PATIENT)
    rows = heat_map(page).evaluate(ROWS)
    assert len(rows) == len(tokens_of(page)) - MARINS > 6
    assert errors(page) == []
    assert tracebacks(page) == 0


@pytest.mark.slow
def test_generating_three_times_gives_one_answer_and_a_reload_on_the_way_leaves_the_page_well(
    open_page: OpenPage,
) -> None:
    page = open_page("/answer")
    generate(page, times=3)
    heat_map(page)
    once = answer_box(page).input_value()
    assert 0 < len(tokens_of(page)) - MARINS <= 24
    other = open_page("/answer")
    generate(other)
    other.reload()
    expect(asks(other).or_(other.locator(".st-key-answer-map")).first).to_be_visible(timeout=PATIENT)
    if asks(other).is_visible():  # unless the answer was there before the reload
        generate(other)
    heat_map(other)
    assert answer_box(other).input_value() == once, "two tabs get the same answer"
    assert traces(other, "answer-map") == traces(page, "answer-map")
    assert errors(page) == errors(other) == []


def test_on_a_phone_the_heat_map_has_room_and_nothing_is_wider_than_the_screen(open_page: OpenPage) -> None:
    page = open_page(f"/answer?{ANSWERED}", width=390, height=844)
    area = heat_map(page).locator(".nsewdrag").first.bounding_box()
    assert area is not None
    assert area["width"] >= 150
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("(main => main.scrollWidth - main.clientWidth)(document.querySelector('.stMain'))") <= 0


@pytest.mark.slow
def test_a_chat_of_two_turns_is_explained_by_messages_and_by_words_and_its_link_brings_it_all_back(
    open_page: OpenPage,
) -> None:
    page = open_page(f"/answer?{CHAT}&answer=No,+3+is+odd.")
    heat_map(page)
    muted = part(page, "box-answer-text", ".eq-muted").all_inner_texts()
    assert muted.count("<|im_start|>") == 5, "the system's message that the template adds is the template's"
    assert "system" in muted
    assert "·even" not in muted
    page.get_by_role("radio", name="message", exact=True).click()
    expect(page.get_by_role("heading", name="Every part of the answer")).to_be_visible(timeout=PATIENT)
    wait_idle(page)
    assert len(heat_map(page).evaluate(ROWS)) == 1
    heads = heat_map(page).evaluate(COLUMNS)
    assert [head[:5] for head in heads] == ["templ", "Is·2·", "Yes,·", "And·i", "No,·3"]

    text_token(page, "answer-text", "·odd").click()
    expect(explained_token(page, "answer-text")).to_have_text("·odd", timeout=PATIENT)
    for name, key in (("Tokens", "chips"), ("Spectra", "text"), ("Matrix", "text"), ("Layers", "text")):
        open_page_named(page, name)
        expect(explained_token(page, key)).to_have_text("·odd", timeout=PATIENT)
        if name == "Tokens":
            chosen = page.get_by_role("combobox", name="Explained next token", exact=True)
            expect(chosen).to_have_value("·odd", timeout=PATIENT)
            chart(page, "waterfall")
            assert errors(page) == []
    open_page_named(page, "Answer")
    heat_map(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    part(page, "strip", "button").filter(has_text="Link").click()
    link: str = page.evaluate("navigator.clipboard.readText()")
    other = open_page(link[link.index("/", len("http://")) :])
    heat_map(other)
    expect(explained_token(other, "answer-text")).to_have_text("·odd", timeout=PATIENT)
    assert prompt_box(other).input_value() == QUESTION
    assert answer_box(other).input_value() == "No, 3 is odd."
    assert {name: address(other)[name] for name in ("position", "as_chat", "answer")} == {
        name: address(page)[name] for name in ("position", "as_chat", "answer")
    }

    page.get_by_role("button", name="Reply in the chat").click()
    expect(prompt_box(page)).to_have_value(f"{QUESTION}\nassistant: No, 3 is odd.\nuser: ", timeout=PATIENT)
    expect(answer_box(page)).to_have_value("")
    for one in (page, other):
        cancel(one)
        assert errors(one) == []
        assert tracebacks(one) == 0
