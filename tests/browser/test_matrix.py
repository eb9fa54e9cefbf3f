"""Page Matrix and the rank dial with the real default model: a rule switched off, a box drawn, the dial turned."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.analysis import (
    PATIENT,
    address,
    ask,
    chart,
    choose,
    choose_value,
    downloaded_csv,
    errors,
    matrix,
    part,
    tracebacks,
    traces,
    wait_for_tokens,
)
from tests.browser.conftest import OpenPage
from tests.browser.test_tokens import rgb
from tests.browser.visit import wait_finished, wait_idle

WIDTH = 576
RECONSTRUCTION = ("reconstruction", "reconstruction-errors")


@pytest.fixture
def matrix_page(open_page: OpenPage) -> Page:
    """The page with the finished matrix of the first prompt's last token."""
    page = open_page("/matrix", height=1400)
    expect(chart(page, "heatmap-0")).to_be_visible(timeout=PATIENT)
    wait_finished(page)
    return page


def freezing_button(page: Page) -> Locator:
    return part(page, "freezing-badge", '[data-testid="stPopover"] button:visible')


def freezing_badge(page: Page) -> str:
    return freezing_button(page).inner_text()


def span(page: Page, label: str) -> list[int]:
    thumbs = page.get_by_role("slider", name=label)
    values: list[str] = thumbs.evaluate_all(
        "all => all.map(thumb => thumb.getAttribute('aria-valuenow') ?? thumb.value)"
    )
    return [int(value) for value in values]


def test_a_freezing_rule_switched_off_turns_the_badge_red_and_breaks_the_reconstruction(matrix_page: Page) -> None:
    assert re.match(r"exact\s+error \d\.\de-[678]", freezing_badge(matrix_page))
    assert [len(traces(matrix_page, key)) for key in RECONSTRUCTION] == [3, 2]
    exact = traces(matrix_page, "reconstruction")[-1]
    assert exact["y"] == pytest.approx(exact["x"], abs=1e-4)

    matrix_page.locator(".st-key-hold_attention label").first.click()
    badge = freezing_button(matrix_page)
    expect(badge).to_contain_text("not exact", timeout=PATIENT)
    wait_idle(matrix_page)
    word = badge.get_by_text("not exact", exact=True)
    red, green, blue = rgb(word.evaluate("word => getComputedStyle(word).color"))
    assert red > max(green, blue)
    assert float(freezing_badge(matrix_page).split("error")[1].split()[0]) == pytest.approx(0.314, abs=0.01)
    assert address(matrix_page)["hold_attention"] == "false"
    switched = next(t for t in traces(matrix_page, "reconstruction") if t["name"].startswith("as switched"))
    assert switched["y"] != pytest.approx(switched["x"], abs=0.1)

    matrix_page.locator(".st-key-hold_attention label").first.click()
    expect(badge).not_to_contain_text("not exact", timeout=PATIENT)
    assert errors(matrix_page) == []
    assert tracebacks(matrix_page) == 0


def test_a_box_drawn_in_the_heat_map_shows_that_part_in_full(matrix_page: Page, open_page: OpenPage) -> None:
    whole = traces(matrix_page, "heatmap-0")[0]
    assert (len(whole["x"]), len(whole["y"])) == (288, 288)
    expect(matrix_page.get_by_text("Reduced: a cell is the largest entry of 2 × 2")).to_be_visible()
    plot = chart(matrix_page, "heatmap-0").locator(".nsewdrag").first
    plot.scroll_into_view_if_needed()
    area = plot.bounding_box()
    assert area is not None
    x, y = area["x"] + 0.1 * area["width"], area["y"] + 0.5 * area["height"]
    matrix_page.mouse.move(x, y)
    matrix_page.mouse.down()
    matrix_page.mouse.move(x + 0.2 * area["width"], y + 0.25 * area["height"], steps=8)
    matrix_page.mouse.up()
    expect(matrix_page.get_by_text("Every entry (float32)")).to_be_visible(timeout=PATIENT)
    wait_idle(matrix_page)
    rows, columns = span(matrix_page, "Rows"), span(matrix_page, "Columns")
    assert rows == pytest.approx([288, 432], abs=8)
    assert columns == pytest.approx([58, 173], abs=8)
    part = traces(matrix_page, "heatmap-0")[0]
    assert (len(part["y"]), len(part["x"])) == (rows[1] - rows[0] + 1, columns[1] - columns[0] + 1)
    largest = max((abs(v), v) for row in matrix(part)[:2] for v in row[:2])[1]
    assert largest == pytest.approx(matrix(whole)[rows[0] // 2][columns[0] // 2]) or rows[0] % 2 or columns[0] % 2

    again = open_page(matrix_page.url[matrix_page.url.index("/", len("http://")) :])
    expect(again.get_by_text("Every entry (float32)")).to_be_visible(timeout=PATIENT)
    assert traces(again, "heatmap-0")[0]["z"] == part["z"]

    matrix_page.get_by_role("button", name="Whole matrix").click()
    wait_idle(matrix_page)
    assert span(matrix_page, "Rows") == [0, WIDTH - 1]
    assert traces(matrix_page, "heatmap-0")[0]["z"] == whole["z"]


def test_two_tokens_stand_side_by_side_on_a_common_colour_scale_or_their_own(matrix_page: Page) -> None:
    choose(matrix_page, "beside it", "4 ·Marin")
    expect(chart(matrix_page, "heatmap-1")).to_be_visible(timeout=PATIENT)
    wait_idle(matrix_page)

    def limits() -> list[float]:
        return [chart(matrix_page, f"heatmap-{i}").evaluate("chart => chart.data[0].zmax") for i in (0, 1)]

    first, second = limits()
    assert first == second
    choose_value(matrix_page, "own")
    assert limits() == [pytest.approx(0.0887, rel=0.02), pytest.approx(second)]
    assert address(matrix_page)["beside"] == "4 ·Marin"


@pytest.mark.slow
def test_the_inset_is_the_token_s_spectrum_and_can_be_hidden(matrix_page: Page) -> None:
    inset = next(t for t in traces(matrix_page, "heatmap-0") if t["name"] == "spectrum")
    assert inset["y"][0] == pytest.approx(5.10, abs=0.006)
    matrix_page.locator(".st-key-inset label").first.click()
    wait_idle(matrix_page)
    assert [t["name"] for t in traces(matrix_page, "heatmap-0")] == ["matrix", "handles"]


def test_the_exact_matrix_downloads(matrix_page: Page, tmp_path: Path) -> None:
    with matrix_page.expect_download() as waiting:
        part(matrix_page, "matrix-file-0", "button:visible").click()
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    exact = np.load(file)
    assert exact.shape == (WIDTH, WIDTH)
    norms = downloaded_csv(matrix_page, "line-norms-0", tmp_path)
    columns = [float(row["norm"]) for row in norms if row["line"] == "column"]
    np.testing.assert_allclose(np.linalg.norm(exact, axis=0), columns, rtol=1e-5)


def test_the_rank_dial_turns_and_the_prediction_converges(open_page: OpenPage) -> None:
    page = open_page("/spectra", height=1400)
    expect(chart(page, "rank-chart")).to_be_visible(timeout=PATIENT)
    wait_finished(page)
    expect(page.get_by_text("Rank 88 is the smallest that keeps the top token ·only")).to_be_visible()
    dial = page.get_by_role("slider", name="Rank r")
    dial.scroll_into_view_if_needed()
    before = dialled(page)
    assert before["rank"] == "8 of 576"
    assert traces(page, "rank-tokens")[0]["customdata"][0] == "·most"

    thumb, track = dial.bounding_box(), page.locator(".st-key-rank").bounding_box()
    assert thumb is not None
    assert track is not None
    x, y = thumb["x"] + thumb["width"] / 2, thumb["y"] + thumb["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(track["x"] + 0.9 * track["width"], y, steps=8)
    page.mouse.up()
    wait_idle(page)
    after = dialled(page)
    rank = int(after["rank"].split()[0])
    assert rank > 88
    assert nats(after) < nats(before) / 10
    assert traces(page, "rank-tokens")[0]["customdata"][0] == "·only"
    marks = chart(page, "rank-chart").evaluate("chart => chart.layout.shapes.map(shape => shape.x0)")
    assert rank in marks
    assert 88 in marks

    again = open_page(page.url[page.url.index("/", len("http://")) :])
    expect(chart(again, "rank-chart")).to_be_visible(timeout=PATIENT)
    assert dialled(again) == after

    choose_value(page, "all together")
    expect(page.get_by_text("Rank 88 is the smallest")).to_have_count(0, timeout=PATIENT)
    expect(page.get_by_text("keeps the top token ·only")).to_be_visible(timeout=PATIENT)
    assert errors(page) == []
    assert tracebacks(page) == 0


def dialled(page: Page) -> dict[str, str]:
    """The facts under the dial."""
    pairs = part(page, "rank-facts", ".eq-fact").evaluate_all(
        "cells => cells.map(cell => { const name = cell.querySelector('b').innerText;"
        " return [name, cell.innerText.slice(name.length).trim()]; })"
    )
    return dict(pairs)


def nats(facts: dict[str, str]) -> float:
    return float(facts["KL(true ‖ truncated)"].split()[0])


@pytest.mark.parametrize(
    "address",
    [
        "/matrix?rows=abc&beside=nobody",
        *(pytest.param(a, marks=pytest.mark.slow) for a in ("/matrix?rows=900,1000", "/spectra?cut=none")),
        "/spectra?rank=9999&upto=7",
    ],
)
def test_an_address_that_names_what_does_not_exist_is_no_traceback(open_page: OpenPage, address: str) -> None:
    page = open_page(address)
    expect(chart(page, "heatmap-0" if "matrix" in address else "rank-chart")).to_be_visible(timeout=PATIENT)
    assert tracebacks(page) == 0
    assert errors(page) == []


def test_a_new_prompt_replaces_matrix_and_reconstruction_and_keeps_the_rules(matrix_page: Page) -> None:
    matrix_page.locator(".st-key-hold_gates label").first.click()
    before = traces(matrix_page, "heatmap-0")[0]["z"]
    ask(matrix_page, "Hello world")
    wait_for_tokens(matrix_page, 2)
    expect(matrix_page.get_by_role("heading", name="Matrix of ·world (position 1)")).to_be_visible(timeout=PATIENT)
    expect(chart(matrix_page, "heatmap-0")).to_be_visible(timeout=PATIENT)
    wait_finished(matrix_page)
    assert traces(matrix_page, "heatmap-0")[0]["z"] != before
    assert freezing_badge(matrix_page).startswith("not exact")
    expect(matrix_page.get_by_text("Cancelled")).to_have_count(0)
    assert errors(matrix_page) == []
