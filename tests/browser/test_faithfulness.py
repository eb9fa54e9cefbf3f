"""Page Tokens beside the split: its choices, leave-one-out, what freezing hides, and the other exact maps."""

from __future__ import annotations

import math

import pytest
from playwright.sync_api import Page, expect

from tests.browser.analysis import (
    PATIENT,
    address,
    axis_title,
    choose,
    dial,
    errors,
    facts,
    open_choices,
    open_page_named,
    open_tab,
    opened_tab,
    published,
    tracebacks,
    traces,
    wait_for_tokens,
    warnings,
)
from tests.browser.conftest import OpenPage
from tests.browser.visit import wait_finished

FRANCE = "/tokens?prompt=The+capital+of+France+is"


@pytest.fixture
def france(open_page: OpenPage) -> Page:
    """The page with everything that is measured, opened on the tab of the curves."""
    page = open_page(FRANCE + "&freezing=true&curves=true&more=Deleting+in+order")
    wait_for_tokens(page, 5)
    wait_finished(page)
    expect(page.locator(".st-key-insertion-curves .js-plotly-plot")).to_be_visible(timeout=PATIENT)
    return page


def shows(page: Page, words: str) -> None:
    """Wait until the line above the chips says this, and the page is drawn."""
    expect(page.locator(".st-key-in-words p").first).to_contain_text(words, timeout=PATIENT)
    wait_finished(page)


def test_what_the_model_does_stands_beside_the_split_and_low_agreement_is_said(france: Page) -> None:
    shows(france, "logit of ·Paris, baseline zero, map half, attention half")
    falls = traces(france, "leave-one-out")[0]["y"]
    assert len(falls) == 5
    assert sorted(falls)[-2:] == [falls[3], falls[1]], "capital and France matter most to the model"
    expect(france.get_by_text("bookkeeping, not importance")).to_be_visible()
    for key in ("deletion-curves", "insertion-curves"):
        assert [len(line["y"]) for line in traces(france, key)[:3]] == [6] * 3
    open_tab(france, "What freezing hides")
    parts = {trace["name"]: trace["y"] for trace in traces(france, "hidden")}
    measured = parts.pop("measured")
    assert list(parts) == ["exact map", "attention", "norms", "gates", "softmax"]
    for i, whole in enumerate(measured):
        assert math.fsum(part[i] for part in parts.values()) == pytest.approx(whole, abs=1e-3)
        assert whole == pytest.approx(falls[i], abs=1e-2), "deleted by the mean, both times"
    open_tab(france, "Other exact maps")
    assert [len(row) for row in traces(france, "other-maps")[0]["z"]] == [5] * 4
    assert errors(france) == warnings(france) == []
    assert tracebacks(france) == 0


@pytest.mark.slow
def test_every_choice_changes_the_terms_and_none_the_sum(france: Page, open_page: OpenPage) -> None:
    seen = []

    def summed(total: float | None = None) -> float:
        *parts, whole = traces(france, "waterfall")[0]["y"]
        assert math.fsum(parts) == pytest.approx(whole, abs=1e-4)
        assert total is None or whole == pytest.approx(total, abs=1e-3)
        assert parts not in seen, "another split has other terms"
        seen.append(parts)
        return float(whole)

    logit = summed()
    published(france)
    shows(france, "logit of ·Paris, baseline zero, map up (as published)")
    summed(logit)
    dial(france, "split_gated", "End")
    shows(france, "map gate")
    summed(logit)
    open_choices(france)
    choose(france, "Baseline", "mean embedding")
    shows(france, "logit of ·Paris, baseline mean embedding, map gate")
    summed(logit)
    france.get_by_role("radio", name="log-probability").click()
    shows(france, "log-probability of ·Paris")
    assert axis_title(france, "waterfall") == "logit above the mean of ·Paris"
    above = summed()
    assert 0 < above < logit
    chosen = address(france)
    assert (chosen["split_gated"], chosen["split_attention"]) == ("gate", "held")
    assert chosen["target"] == "log-probability"

    choose(france, "Baseline", "two words")
    expect(france.get_by_text("'two words' is not a single token")).to_be_visible(timeout=PATIENT)
    assert traces(france, "waterfall")[0]["y"][-1] == pytest.approx(above, abs=1e-3), "what was there stays"
    assert opened_tab(france) == chosen["more"] == "Deleting in order"
    again = open_page(FRANCE + "&split_gated=gate&split_attention=held&target=log-probability")
    wait_for_tokens(again, 5)
    shows(again, "log-probability of ·Paris, baseline zero, map gate")


@pytest.mark.slow
def test_one_click_shows_the_map_on_all_pages_and_deletion_can_be_by_removal(open_page: OpenPage) -> None:
    page = open_page(FRANCE)
    wait_for_tokens(page, 5)
    wait_finished(page)
    assert facts(page)["map"] == "up (as published)"
    before = traces(page, "leave-one-out")[0]["y"]
    choose(page, "Deleted by", "removal")
    expect(page.get_by_text("by removing it")).to_be_visible(timeout=PATIENT)
    wait_finished(page)
    assert traces(page, "leave-one-out")[0]["y"] != before
    page.get_by_role("button", name="Show this map on all pages").click()
    wait_finished(page)
    assert facts(page)["map"] == "half, attention half"
    open_page_named(page, "Layers")
    wait_finished(page)
    expect(page.get_by_text("go by reverse passes, which take minutes")).to_be_visible()
    expect(page.get_by_text("As on page Tokens: logit, baseline zero, half, attention half.")).to_be_visible()
    assert tracebacks(page) == 0
