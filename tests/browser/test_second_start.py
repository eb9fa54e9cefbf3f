"""The second start of the app: it opens on the analysis that the first one computed, and computes on request."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.analysis import (
    MARIN,
    PATIENT,
    TOKEN_CHARTS,
    analyse,
    ask,
    facts,
    open_page_named,
    traces,
    wait_for_tokens,
)
from tests.browser.server import running_app
from tests.browser.visit import visit, wait_finished, wait_idle

SAVED = "saved"


def test_a_second_start_opens_on_the_saved_analysis_and_computes_on_request(chromium: Browser, tmp_path: Path) -> None:
    environment = {"EQLIN_SAVED_RUNS": str(tmp_path)}
    problems: list[str] = []
    with running_app(environment=environment) as app:
        page = visit(chromium, app.url, problems=problems)
        wait_for_tokens(page, 7)
        wait_finished(page)
        assert SAVED not in facts(page)
        first = {key: traces(page, key) for key in TOKEN_CHARTS}
        page.context.close()
    assert len(list(tmp_path.iterdir())) == 3, "contributions by the published map and by the page's own, and spectra"

    with running_app(environment=environment) as app:
        page = visit(chromium, app.url, problems=problems)
        wait_for_tokens(page, 7)
        assert re.fullmatch(r"\d\d \w+ \d\d:\d\d", facts(page)[SAVED])
        wait_finished(page)  # the other exact maps, by which bars are hatched, are no part of what is saved
        assert {key: traces(page, key) for key in TOKEN_CHARTS} == first, "to the last bit"
        open_page_named(page, "Spectra")
        assert len(traces(page, "singular-values")) >= 7
        open_page_named(page, "Tokens")
        # what was not saved is computed
        ask(page, "The capital of France is")
        wait_for_tokens(page, 5)
        assert SAVED not in facts(page)
        # what was saved is shown again, and computed when it is asked for a second time
        ask(page, MARIN)
        wait_for_tokens(page, 7)
        assert SAVED in facts(page)
        analyse(page)
        expect(page.locator(".eq-strip")).not_to_contain_text(SAVED, timeout=PATIENT)
        wait_finished(page)
        wait_idle(page)
        page.context.close()
    assert problems == []
