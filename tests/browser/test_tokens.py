"""Page Tokens of the running app with the real default model: the analysis, its charts, and what they explain."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.analysis import (
    MARIN,
    PATIENT,
    SPECTRA_TABS,
    TOKEN_TABS,
    address,
    ask,
    axis_title,
    badge,
    cancel,
    chart,
    charts,
    chips,
    choose,
    downloaded_csv,
    downloaded_picture,
    errors,
    facts,
    matrix,
    open_page_named,
    open_tab,
    predictions,
    tracebacks,
    traces,
    wait_for_tokens,
    warnings,
)
from tests.browser.conftest import OpenPage
from tests.browser.visit import wait_finished, wait_idle

# Keeps in `most` how many waterfalls have been seen at once, old and new ones. What Streamlit keeps of an old one
# for its focus, until the run's end, is not seen.
COUNT_WATERFALLS = """() => {
    const plots = () => [...document.querySelectorAll('.st-key-waterfall .js-plotly-plot')];
    const count = () => plots().filter(plot => plot.checkVisibility()).length;
    window.most = count();
    new MutationObserver(() => { window.most = Math.max(window.most, count()); })
        .observe(document.body, {childList: true, subtree: true});
}"""
MARIN_CHIPS = ["The", "·bridge", "·out", "·of", "·Marin", "·is", "·the"]


@pytest.fixture
def first_page(open_page: OpenPage) -> Page:
    """Page Tokens of the first prompt with its contributions drawn."""
    page = open_page("/tokens")
    wait_for_tokens(page, len(MARIN_CHIPS))
    return page


def test_the_page_shows_a_finished_analysis_without_doing_anything(first_page: Page) -> None:
    wait_finished(first_page)
    assert chips(first_page) == MARIN_CHIPS
    waterfall, norms, heatmap = charts(first_page, TOKEN_TABS).values()
    assert len(waterfall[0]["y"]) == 1 + 7 + 1  # the bias, the tokens, the logit
    assert [len(bars["y"]) for bars in norms] == [7, 7]
    assert [len(row) for row in matrix(heatmap[0])] == [7] * 20
    assert errors(first_page) == []
    assert warnings(first_page) == []
    assert tracebacks(first_page) == 0


def test_the_strip_says_what_ran_what_is_predicted_and_that_it_is_exact(first_page: Page) -> None:
    strip = facts(first_page)
    assert (strip["model"], strip["precision"], strip["prompt"]) == ("smollm2-135m", "float32", "7 tokens")
    assert re.fullmatch(r"cpu|mps|cuda(:\d+)?", strip["device"])
    likely = predictions(first_page)
    shares = [share for _, share in likely]
    assert likely[0] == ("·only", pytest.approx(0.075, abs=0.002))
    assert len(likely) == 5
    assert shares == sorted(shares, reverse=True)

    button = badge(first_page)
    shown = float(button.inner_text().split("error")[1].split()[0])
    assert 0 < shown < 1e-4
    word = button.get_by_text("exact", exact=True)
    red, green, blue = rgb(word.evaluate("word => getComputedStyle(word).color"))
    assert green > max(red, blue)
    button.click()
    rows = first_page.locator(".eq-errors tr").filter(has=first_page.locator("td"))
    expect(rows).to_have_count(2)
    for row, name in zip(rows.all(), ["reconstruction", "forward"], strict=True):
        cells = row.locator("td").all_inner_texts()
        assert cells[0] == name
        assert 0 < float(cells[2]) < float(cells[3]) <= 1e-3
    assert float(rows.first.locator("td").nth(2).inner_text()) == shown


def test_a_new_prompt_changes_every_chart_of_both_pages_the_chips_the_strip_and_the_address(first_page: Page) -> None:
    wait_finished(first_page)
    before = charts(first_page, TOKEN_TABS)
    strip = facts(first_page)
    open_page_named(first_page, "Spectra")
    before |= charts(first_page, SPECTRA_TABS)
    open_page_named(first_page, "Tokens")
    assert "prompt" not in address(first_page)

    ask(first_page, "Hello world")
    wait_for_tokens(first_page, 2)
    assert chips(first_page) == ["Hello", "·world"]
    assert address(first_page)["prompt"] == "Hello world"
    now = facts(first_page)
    assert now["prompt"] == "2 tokens"
    assert now["next token"] != strip["next token"]
    wait_finished(first_page)
    after = charts(first_page, TOKEN_TABS)
    open_page_named(first_page, "Spectra")
    after |= charts(first_page, SPECTRA_TABS)
    assert [key for key in before if before[key] == after[key]] == []


def test_an_example_prompt_is_analysed_as_soon_as_it_is_chosen(first_page: Page) -> None:
    choose(first_page, "Example prompts", "The capital of France is")
    wait_for_tokens(first_page, 5)
    assert chips(first_page) == ["The", "·capital", "·of", "·France", "·is"]
    assert address(first_page)["prompt"] == "The capital of France is"
    assert predictions(first_page)[0][0] == axis_title(first_page, "waterfall").removeprefix("logit of ")
    cancel(first_page)


def test_the_parts_of_the_waterfall_sum_to_the_logit_and_of_two_tokens_to_their_difference(first_page: Page) -> None:
    names = [name for name, _ in predictions(first_page)[:2]]
    logits, terms = [], []
    for name in names:
        choose(first_page, "Explained next token", name)
        assert axis_title(first_page, "waterfall") == f"logit of {name}"
        *parts, logit = traces(first_page, "waterfall")[0]["y"]
        assert math.fsum(parts) == pytest.approx(logit, rel=1e-5)
        logits.append(logit)
        terms.append(parts)
    heat = matrix(traces(first_page, "heatmap")[0])
    assert terms[0][1:] == pytest.approx(heat[0])
    assert terms[1][1:] == pytest.approx(heat[1])

    choose(first_page, "Explained next token", names[0])
    choose(first_page, "compared with", names[1])
    *parts, difference = traces(first_page, "waterfall")[0]["y"]
    assert difference == pytest.approx(logits[0] - logits[1])
    assert parts == pytest.approx([a - b for a, b in zip(*terms, strict=True)])
    assert math.fsum(parts) == pytest.approx(difference, abs=1e-4)
    assert axis_title(first_page, "waterfall") == f"logit of {names[0]} − logit of {names[1]}"


def test_a_chosen_next_token_is_in_the_address_which_opens_the_same_view(first_page: Page, open_page: OpenPage) -> None:
    choose(first_page, "Explained next token", "·iconic")
    assert address(first_page)["explain"] == "·iconic"
    assert axis_title(first_page, "waterfall") == "logit of ·iconic"
    again = open_page(first_page.url[first_page.url.index("/", len("http://")) :])
    wait_for_tokens(again, len(MARIN_CHIPS))
    assert axis_title(again, "waterfall") == "logit of ·iconic"
    assert traces(again, "waterfall") == traces(first_page, "waterfall")


def test_a_typed_next_token_is_explained_and_nonsense_gets_a_sentence(first_page: Page) -> None:
    first_page.evaluate(COUNT_WATERFALLS)
    choose(first_page, "Explained next token", "Venice")
    expect(chart(first_page, "waterfall")).to_contain_text("Venice", timeout=PATIENT)
    wait_idle(first_page)
    assert address(first_page)["explain"] == "Venice"
    assert axis_title(first_page, "waterfall") in ("logit of Venice", "logit of ·Venice")
    *parts, logit = traces(first_page, "waterfall")[0]["y"]
    assert math.fsum(parts) == pytest.approx(logit, abs=1e-4)
    assert warnings(first_page) == []

    choose(first_page, "Explained next token", "zzqqzz")
    expect(first_page.get_by_text("'zzqqzz' is not a single token")).to_be_visible(timeout=PATIENT)
    wait_idle(first_page)
    assert len(warnings(first_page)) == 1
    assert first_page.evaluate("() => most") == 1, "a sentence that comes or goes moves no chart"
    assert chips(first_page) == MARIN_CHIPS
    assert axis_title(first_page, "waterfall") == "logit of ·only"


def test_the_data_of_a_chart_downloads_as_a_table_of_exact_numbers(first_page: Page, tmp_path: Path) -> None:
    rows = downloaded_csv(first_page, "waterfall", tmp_path)
    assert list(rows[0]) == ["part", "position", "token", "term", "running_sum", "in_other_tokens", "differs"]
    assert [row["token"] for row in rows[1:-1]] == ["The", " bridge", " out", " of", " Marin", " is", " the"]
    assert [float(row["term"]) for row in rows] == traces(first_page, "waterfall")[0]["y"]
    assert float(rows[-1]["term"]) == pytest.approx(sum(float(row["term"]) for row in rows[:-1]), rel=1e-5)

    heat = downloaded_csv(first_page, "heatmap", tmp_path)
    assert list(heat[0]) == ["position", "token", "target_rank", "target", "term"]
    assert len(heat) == 7 * 20
    open_tab(first_page, "Size and direction")
    norms = downloaded_csv(first_page, "norms", tmp_path)
    assert [float(row["norm"]) for row in norms] == traces(first_page, "norms")[0]["y"]


def test_the_picture_of_a_chart_downloads(first_page: Page, tmp_path: Path) -> None:
    picture = downloaded_picture(first_page, "waterfall", tmp_path)
    assert re.fullmatch(r"waterfall_smollm2-135m_.*\.png", picture.name), "which run it is of"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 5_000


def test_the_prompt_is_still_in_the_box_and_the_model_was_this_one(first_page: Page) -> None:
    assert first_page.get_by_label("Prompt", exact=True).input_value() == MARIN
    assert first_page.get_by_role("combobox", name="Model").input_value() == "smollm2-135m"


def rgb(colour: str) -> tuple[float, float, float]:
    """The channels of a computed colour."""
    red, green, blue = (float(number) for number in re.findall(r"[0-9.]+", colour)[:3])
    return red, green, blue
