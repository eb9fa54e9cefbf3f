"""Page Spectra of the running app with the real default model: spectra, triplets, and what they do at the prompt."""

from __future__ import annotations

import math
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.analysis import (
    SPECTRA_CHARTS,
    SPECTRA_TABS,
    address,
    axis_title,
    axis_type,
    chart,
    charts,
    choose,
    choose_value,
    downloaded_csv,
    errors,
    matrix,
    open_page_named,
    open_tab,
    part,
    prompt_box,
    published,
    tracebacks,
    traces,
)
from tests.browser.conftest import OpenPage
from tests.browser.server import running_app
from tests.browser.visit import visit, wait_finished, wait_idle

PAGES = ["Start", "Tokens", "Answer", "Spectra", "Matrix", "Layers", "Steering", "Compare", "Study", "Runs", "Models"]
TOKENS = ["The", "·bridge", "·out", "·of", "·Marin", "·is", "·the"]
# Measured with the engine in float64 and in float32: the largest singular value and the stable rank of every token.
FIRST_SINGULAR_VALUES = [63.93, 4.45, 2.99, 4.53, 13.13, 4.11, 5.10]
STABLE_RANKS = [1.01, 10.36, 2.26, 1.78, 8.80, 1.39, 1.30]
LONG = (
    "The bridge out of Marin is the longest in the world and was built by people who loved the sea. In the summer of "
    "1937 the workers opened it to the city, and the fog came in from the ocean every morning, while painters climbed "
    "the tall red towers and looked down on the ships that sailed below"
)
EFFECT, TRIPLETS, VALUES = "What each triplet does", "One token's triplets", "Singular values"  # tabs
OF_A_TOKEN = {EFFECT: ("effect",), TRIPLETS: ("readout",)}
HEADER, ROW = 35, 28  # heights in the triplet table


@pytest.fixture
def spectra_page(open_page: OpenPage) -> Page:
    """The page with the finished spectra of the first prompt."""
    page = open_page("/spectra")
    wait_finished(page)
    return page


def test_the_spectra_of_all_tokens_are_those_of_the_real_model(spectra_page: Page) -> None:
    lines = {line["name"]: line["y"] for line in traces(spectra_page, "singular-values")}
    assert sorted(lines) == sorted(TOKENS)
    assert [lines[token][0] for token in TOKENS] == pytest.approx(FIRST_SINGULAR_VALUES, abs=0.006)
    for values in lines.values():
        assert len(values) == 24
        assert values == sorted(values, reverse=True)
    assert traces(spectra_page, "stable-ranks")[0]["y"] == pytest.approx(STABLE_RANKS, abs=0.006)
    assert errors(spectra_page) == []
    assert tracebacks(spectra_page) == 0


def test_the_scale_and_the_values_can_be_switched_and_are_in_the_address(spectra_page: Page) -> None:
    assert axis_type(spectra_page, "singular-values") == "log"
    choose_value(spectra_page, "linear")
    assert axis_type(spectra_page, "singular-values") == "linear"
    assert axis_type(spectra_page, "stable-ranks") == "linear"
    choose_value(spectra_page, "normalised")
    assert axis_title(spectra_page, "singular-values") == "σₖ / σ₁"
    assert [line["y"][0] for line in traces(spectra_page, "singular-values")] == [1.0] * 7
    assert {"scale": "linear", "values": "normalised"}.items() <= address(spectra_page).items()


@pytest.mark.slow
def test_another_token_and_another_row_of_the_table_change_the_read_out(spectra_page: Page) -> None:
    last = charts(spectra_page, OF_A_TOKEN)
    choose(spectra_page, "Token", "1 ·bridge")
    expect(spectra_page.get_by_role("heading", name="Singular triplets of ·bridge")).to_be_visible()
    bridge = charts(spectra_page, {VALUES: ("singular-values",)} | OF_A_TOKEN)
    assert bridge["readout"] != last["readout"]
    assert bridge["effect"] != last["effect"]
    assert bridge["singular-values"][-1]["name"] == "·bridge"  # the highlighted line lies on top

    choose_triplet(spectra_page, 3)
    expect(spectra_page.get_by_role("heading", name="Triplet 3: full read-out")).to_be_visible()
    wait_idle(spectra_page)
    assert traces(spectra_page, "readout") != bridge["readout"]
    open_tab(spectra_page, EFFECT)
    assert traces(spectra_page, "effect") == bridge["effect"]


def test_the_first_triplet_of_bridge_writes_highways_and_links(spectra_page: Page, tmp_path: Path) -> None:
    choose(spectra_page, "Token", "1 ·bridge")
    open_tab(spectra_page, TRIPLETS)
    rows = downloaded_csv(spectra_page, "readout", tmp_path)
    written = [row["token"].strip().lower() for row in rows if row["vector"] == "u"]
    assert {"highway", "bridge", "link"} <= set(written)


def test_the_shares_of_the_triplets_sum_to_the_token_s_term_of_the_logit(spectra_page: Page) -> None:
    open_tab(spectra_page, EFFECT)
    shares = traces(spectra_page, "effect")[1]["y"]
    assert len(shares) == 24 + 1  # and what all the triplets after them add
    open_page_named(spectra_page, "Tokens")
    published(spectra_page)
    term = traces(spectra_page, "waterfall")[0]["y"][-2]  # the last token's, before the logit
    assert math.fsum(shares) == pytest.approx(term, rel=1e-4)
    assert shares[0] / term > 0.9


def test_another_explained_token_changes_the_shares_and_not_the_spectra(spectra_page: Page) -> None:
    before = charts(spectra_page, SPECTRA_TABS)
    choose(spectra_page, "Explained next token", "·San")
    after = charts(spectra_page, SPECTRA_TABS)
    assert [key for key in SPECTRA_CHARTS if before[key] != after[key]] == ["effect"]
    assert before["effect"][0] == after["effect"][0]
    open_page_named(spectra_page, "Tokens")
    published(spectra_page)
    assert axis_title(spectra_page, "waterfall") == "logit of ·San"
    assert math.fsum(after["effect"][1]["y"]) == pytest.approx(matrix_row(spectra_page, "·San")[-1], rel=1e-4)


@pytest.mark.slow
def test_a_view_of_the_spectra_is_a_link(spectra_page: Page, open_page: OpenPage) -> None:
    choose(spectra_page, "Token", "4 ·Marin")
    choose_value(spectra_page, "normalised")
    shown = charts(spectra_page, SPECTRA_TABS)  # which leaves the tab open that these choices stand in
    again = open_page(spectra_page.url[spectra_page.url.index("/", len("http://")) :])
    wait_finished(again)
    assert traces(again, "singular-values") == shown["singular-values"]
    assert charts(again, SPECTRA_TABS) == shown
    assert "triplets_of" not in address(again)
    open_tab(again, EFFECT)
    assert address(again)["triplets_of"] == EFFECT


def test_the_data_of_the_spectra_downloads(spectra_page: Page, tmp_path: Path) -> None:
    rows = downloaded_csv(spectra_page, "singular-values", tmp_path)
    assert list(rows[0]) == ["position", "token", "k", "sigma", "sigma_over_sigma_1"]
    assert len(rows) == 7 * 24
    line = next(line for line in traces(spectra_page, "singular-values") if line["name"] == "·Marin")
    assert [float(row["sigma"]) for row in rows if row["position"] == "4"] == line["y"]
    open_tab(spectra_page, TRIPLETS)
    assert sum(row["vector"] == "u" for row in downloaded_csv(spectra_page, "readout", tmp_path)) == 12
    open_tab(spectra_page, EFFECT)
    assert downloaded_csv(spectra_page, "effect", tmp_path)[-1]["k"] == "rest"


def test_the_first_visitor_s_link_to_the_spectra_opens_the_whole_app(chromium: Browser, problems: list[str]) -> None:
    with running_app() as fresh:
        page = visit(chromium, f"{fresh.url}/spectra?prompt=Hello", problems=problems)
        wait_idle(page)
        expect(prompt_box(page)).to_have_value("Hello", timeout=60_000)
        navigation = page.locator('[data-testid="stSidebarNavLink"]')
        assert [text.strip() for text in navigation.all_inner_texts()] == PAGES
        assert address(page) == {"prompt": "Hello"}
        assert re.search(r"/spectra\?", page.url)
        page.context.close()
    assert problems == []


@pytest.mark.slow
def test_a_long_prompt_shows_its_most_important_tokens_before_the_matrix_is_there(open_page: OpenPage) -> None:
    page = open_page(f"/spectra?prompt={quote(LONG)}")
    expect(page.get_by_role("heading", name="These tokens come first")).to_be_visible(timeout=120_000)
    wait_idle(page)
    early = [(line["name"], line["y"]) for line in traces(page, "singular-values")]
    assert 1 <= len(early) <= 4
    assert {len(values) for _, values in early} == {6}
    assert page.get_by_role("heading", name="Stable rank").count() == 0
    assert page.get_by_test_id("stProgress").count() == 1, "the matrix is still under way"
    open_tab(page, TRIPLETS)
    expect(page.get_by_role("heading", name="Triplet 1: full read-out")).to_be_visible()
    choose(page, "Token", "63 ·sailed")
    expect(page.get_by_role("heading", name="Singular triplets of ·sailed")).to_be_visible()

    open_tab(page, VALUES)
    expect(page.get_by_role("heading", name="Stable rank")).to_be_visible(timeout=280_000)
    wait_idle(page, timeout=120)
    full = [(line["name"], line["y"]) for line in traces(page, "singular-values") if line["name"]]
    assert len(full) == 65
    for name, values in early:
        assert pytest.approx(values, rel=1e-3) in [line[:6] for other, line in full if other == name]
    assert page.get_by_role("heading", name="These tokens come first").count() == 0
    open_tab(page, TRIPLETS)
    expect(page.get_by_role("heading", name="Singular triplets of ·sailed")).to_be_visible()
    assert errors(page) == []
    assert tracebacks(page) == 0


def choose_triplet(page: Page, k: int) -> None:
    """Click in the middle of a row of the triplet table, which is a canvas."""
    table = part(page, "triplets", '[data-testid="stDataFrame"]')
    table.scroll_into_view_if_needed()
    table.click(position={"x": 300, "y": HEADER + ROW * (k - 0.5)})


def matrix_row(page: Page, target: str) -> list[float]:
    """A predicted token's row of the heat map on page Tokens."""
    cells = traces(page, "heatmap")[0]
    labels: list[str] = chart(page, "heatmap").evaluate("chart => chart.layout.yaxis.ticktext")
    row = next(i for i, label in enumerate(labels) if target in label)
    return matrix(cells)[row]
