"""What is there before anything is computed: what is shipped, and the analyses of the start before."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.analysis import (
    PATIENT,
    analyse,
    ask,
    chips,
    errors,
    facts,
    open_page_named,
    traces,
    wait_for_tokens,
)
from tests.browser.server import running_app
from tests.browser.visit import visit, wait_finished, wait_idle

SAVED, EXAMPLE = "saved", "example"
# Of every page charts of what it asks for, those that come last among them.
LAST_CHARTS = {
    "Tokens": ("waterfall", "leave-one-out"),
    "Spectra": ("rank-chart", "singular-values"),
    "Matrix": ("line-norms-0", "reconstruction-errors"),
    "Layers": ("heads-table", "direct-layers", "layer-table"),
    "Steering": ("steering-metrics",),
}
IN_VIEW = ("waterfall", "leave-one-out", "heatmap")  # on page Tokens, its first tab included
OWN = "The tunnel under London is the"  # no example, so nothing of it is shipped


@pytest.mark.slow
def test_a_second_start_opens_on_the_saved_analysis_and_computes_on_request(chromium: Browser, tmp_path: Path) -> None:
    environment = {"EQLIN_SAVED_RUNS": str(tmp_path)}
    problems: list[str] = []
    with running_app(environment=environment) as app:
        page = visit(chromium, f"{app.url}/tokens?{urlencode({'prompt': OWN})}", problems=problems)
        wait_for_tokens(page, 6)
        wait_finished(page)
        assert SAVED not in facts(page)
        first = {key: traces(page, key) for key in IN_VIEW}
        page.context.close()
    assert len(list(tmp_path.iterdir())) == 3, "contributions by the published map and by the page's own, and spectra"

    with running_app(environment=environment) as app:
        page = visit(chromium, f"{app.url}/tokens?{urlencode({'prompt': OWN})}", problems=problems)
        wait_for_tokens(page, 6)
        assert re.fullmatch(r"\d\d \w+ \d\d:\d\d", facts(page)[SAVED])
        wait_finished(page)  # the other exact maps, by which bars are hatched, are no part of what is saved
        assert {key: traces(page, key) for key in IN_VIEW} == first, "to the last bit"
        open_page_named(page, "Spectra")
        assert len(traces(page, "singular-values")) >= 6
        open_page_named(page, "Tokens")
        # what was not saved is computed
        ask(page, "The food in Rome is")
        wait_for_tokens(page, 5)
        assert SAVED not in facts(page)
        # what was saved is shown again, and computed when it is asked for a second time
        ask(page, OWN)
        wait_for_tokens(page, 6)
        assert SAVED in facts(page)
        analyse(page)
        expect(page.locator(".eq-strip")).not_to_contain_text(SAVED, timeout=PATIENT)
        wait_finished(page)
        wait_idle(page)
        page.context.close()
    assert problems == []


def test_the_first_start_shows_every_page_without_a_model_or_a_network_and_says_what_is_missing(
    chromium: Browser, tmp_path: Path
) -> None:
    nothing = {"EQLIN_CACHE": str(tmp_path / "cache"), "EQLIN_SAVED_RUNS": str(tmp_path / "runs"), "PIP_NO_INDEX": "1"}
    problems: list[str] = []
    with running_app(environment=nothing | {"PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}) as app:
        page = visit(chromium, f"{app.url}/tokens", problems=problems)
        wait_for_tokens(page, 7)
        assert chips(page)[:3] == ["The", "·bridge", "·out"]
        for name, charts in LAST_CHARTS.items():
            open_page_named(page, name)
            for key in charts:
                assert traces(page, key), f"{key} on {name}"
            assert facts(page)[EXAMPLE].startswith("shipped with ")
            wait_finished(page)  # what asks for the model has failed by now
            assert errors(page) == []
            assert all(traces(page, key) for key in charts), "what was there stays"
        expect(page.get_by_text("Shipped with eqlin ")).to_be_visible()
        open_page_named(page, "Layers")
        missing = page.get_by_text("package index does not offer")
        expect(missing).to_have_count(0)
        page.get_by_role("button", name="Compute the layers").click()
        expect(missing.first).to_be_visible(timeout=PATIENT)
        assert traces(page, "layer-table"), "what was there stays"
        page.context.close()
    assert problems == []
