"""Page Layers of the running app with the real default model: the table, the triplet behind a cell, the heads."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.analysis import (
    PATIENT,
    address,
    chart,
    choose,
    choose_value,
    downloaded_csv,
    errors,
    open_tab,
    part,
    tracebacks,
    traces,
)
from tests.browser.conftest import OpenPage
from tests.browser.visit import wait_finished, wait_idle

# Where a point of a chart lies in the browser's window.
PLACE = """(chart, [x, y]) => {
    const box = chart.getBoundingClientRect(), {xaxis, yaxis} = chart._fullLayout;
    return [box.left + xaxis._offset + xaxis.d2p(x), box.top + yaxis._offset + yaxis.d2p(y)];
}"""
# The largest singular values of the whole matrix, as page Spectra shows them.
FIRST_SINGULAR_VALUES = [104.95, 6.47, 12.86]
PAGE = "/layers?prompt=The+bridge+out"  # three tokens, so that the sweeps do not take long


@pytest.fixture
def layers_page(open_page: OpenPage) -> Page:
    """The page with both finished sweeps of the first prompt."""
    page = open_page(PAGE)
    wait_finished(page, timeout=PATIENT / 1000)
    return page


def click_cell(page: Page, key: str, row: int, column: int) -> None:
    """Click a cell of a chart whose rows run downwards, and wait until the page has followed."""
    drawn = chart(page, key)
    drawn.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    x, y = drawn.evaluate(PLACE, [column, row])
    page.mouse.click(x, y)
    page.wait_for_timeout(300)
    wait_idle(page)


def test_a_click_in_the_layer_table_opens_the_triplet(layers_page: Page) -> None:
    cell = part(layers_page, "cell", "summary")
    triplet = layers_page.get_by_role("heading", name="Triplet 1 of")
    expect(triplet).to_have_count(0)
    cell.click()
    expect(triplet).to_have_text("Triplet 1 of all tokens together at layer 29, block output")
    before = {key: traces(layers_page, key) for key in ("layer-readout", "layer-targets")}
    click_cell(layers_page, "layer-table", 24, 1)
    expect(triplet).to_have_text("Triplet 1 of ·bridge at layer 24, block output")
    after = {key: traces(layers_page, key) for key in before}
    assert all(after[key] != before[key] for key in before)
    cells = traces(layers_page, "layer-table")[1]
    clicked = next(entry for entry in cells["customdata"] if entry[:2] == [24, 1])
    first = after["layer-readout"][0]["customdata"][0][0]
    assert clicked[3].split("  ")[0] == first, "the panel reads what the cell shows first"
    assert {"at_layer": "24", "column": "1 ·bridge"}.items() <= address(layers_page).items()
    cell.click()
    expect(triplet).to_have_count(0)
    click_cell(layers_page, "layer-table", 3, 2)  # which opens it again
    expect(triplet).to_have_text("Triplet 1 of ·out at layer 3, block output")
    assert errors(layers_page) == []
    assert tracebacks(layers_page) == 0


def test_the_last_layer_has_the_spectra_of_the_whole_map(layers_page: Page, tmp_path: Path) -> None:
    rows = downloaded_csv(layers_page, "layer-table", tmp_path)
    assert len(rows) == 30 * 4
    last = [float(row["σ"]) for row in rows if row["layer"] == "29"]
    assert last[:-1] == pytest.approx(FIRST_SINGULAR_VALUES, abs=0.006)
    assert "bridges" in next(row["reads"] for row in rows if row["layer"] == "29" and row["column"] == "1")
    open_tab(layers_page, "Spectra")
    assert traces(layers_page, "layer-ranks")
    drawn = [value for line in traces(layers_page, "layer-spectra") for value in line["y"] or ()]
    assert any(value == pytest.approx(last[-1]) for value in drawn), "of all tokens together, whose cell is open"
    for tab, key in (("The way to the last layer", "layer-path"), ("When a token is read", "first-layers")):
        open_tab(layers_page, tab)
        assert traces(layers_page, key)
    assert address(layers_page)["layer_tab"] == tab


def test_place_mode_and_triplet_are_chosen_and_are_in_the_address(layers_page: Page) -> None:
    before = traces(layers_page, "layer-table")
    choose_value(layers_page, "MLP")
    mlp = traces(layers_page, "layer-table")
    assert mlp != before
    choose_value(layers_page, "layer-wise")
    alone = traces(layers_page, "layer-table")
    assert alone != mlp
    choose(layers_page, "Triplet", "2")
    assert traces(layers_page, "layer-table") != alone
    expected = {"place": "MLP", "map_from": "layer-wise", "layer_triplet": "2"}
    assert expected.items() <= address(layers_page).items()
    # another tab reads the stream through lenses; the choices stand as they were after it
    open_tab(layers_page, "Through lenses")
    plain, own = traces(layers_page, "lens-ranks")
    assert (plain["name"], own["name"]) == ("logit lens", "this prompt's map")
    assert len(chart(layers_page, "lens-table").evaluate("chart => chart.data[0].text")) == 30
    expect(layers_page.get_by_role("button", name="Fit the Jacobian lens")).to_be_enabled()
    open_tab(layers_page, "Read-outs")
    assert expected.items() <= address(layers_page).items()
    chosen = layers_page.get_by_role("radio", name="layer-wise", exact=True)
    expect(chosen).to_be_checked()


def test_a_click_on_a_head_shows_where_its_share_comes_from(layers_page: Page) -> None:
    table = traces(layers_page, "heads-table")[1]
    click_cell(layers_page, "heads-table", 28, 7)
    expect(layers_page.get_by_role("heading", name="Layer 28, head 7")).to_be_visible()
    share = next(entry[2] for entry in table["customdata"] if entry[:2] == [28, 7])
    terms = traces(layers_page, "head-tokens")[0]["y"]
    assert sum(terms) == pytest.approx(float(share.replace("−", "-")), rel=0.01)


def test_a_view_of_the_layers_is_a_link(open_page: OpenPage) -> None:
    page = open_page(f"{PAGE}&at_layer=12&column=2 ·out&place=attention")
    wait_finished(page, timeout=PATIENT / 1000)
    expect(page.get_by_role("heading", name="Triplet 1 of ·out at layer 12, attention")).to_be_visible()
