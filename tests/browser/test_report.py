"""A report in Chromium without a network: its charts are drawn in both themes, and nothing in a prompt runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

import eqlin_core as eq
from tests.eqlin_core.reports.cases import nasty_run, spectra_of

DRAWN = "[...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('.trace, .hm, .barlayer .point').length)"
BACKGROUNDS = (
    "[...document.querySelectorAll('.chart .main-svg:first-of-type')].map(s => getComputedStyle(s).background)"
)
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(14, 17, 23)"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of a run with nasty tokens, and one that compares it with itself."""
    folder, run = tmp_path_factory.mktemp("reports"), nasty_run()
    spectra = spectra_of(run)
    eq.write_report(folder / "one.html", run, spectra=spectra)
    eq.write_report(folder / "two.html", run, spectra=spectra, compared_with=run, compared_spectra=spectra)
    return {"one": folder / "one.html", "two": folder / "two.html"}


@pytest.mark.parametrize(("name", "charts"), [("one", 5), ("two", 3)])
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_it_opens_offline_and_draws_all_its_charts(
    name: str, charts: int, scheme: str, files: dict[str, Path], chromium: Browser
) -> None:
    context = chromium.new_context(color_scheme=scheme, offline=True)  # type: ignore[arg-type]
    page = context.new_page()
    problems: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(files[name].as_uri())
    first, other = (LIGHT, DARK) if scheme == "light" else (DARK, LIGHT)
    assert_drawn(page, charts, first)
    page.get_by_role("button", name="theme").click()
    assert_drawn(page, charts, other)
    page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
    assert_drawn(page, charts, other)
    assert page.evaluate("window.hit") is None, "a token was run"
    assert (problems, asked) == ([], [files[name].as_uri()])
    context.close()


def test_on_paper_it_is_light_and_no_wider_than_the_page(files: dict[str, Path], chromium: Browser) -> None:
    context = chromium.new_context(color_scheme="dark", offline=True)
    page = context.new_page()
    page.goto(files["one"].as_uri())
    assert_drawn(page, 5, DARK)
    page.evaluate(
        """addEventListener("beforeprint", () => {
            window.onPaper = [...document.querySelectorAll(".chart .main-svg:first-of-type")]
                .map((s) => [s.getBoundingClientRect().width, getComputedStyle(s).background]);
        })"""
    )
    assert len(page.pdf(format="A4")) > 50_000
    on_paper = page.evaluate("window.onPaper")
    assert len(on_paper) == 5
    assert all(width <= 688 and LIGHT in background for width, background in on_paper)
    assert_drawn(page, 5, DARK)
    context.close()


def assert_drawn(page: Page, charts: int, background: str) -> None:
    """Every chart has something in it, on this background, as the page has."""
    page.wait_for_function(f"document.querySelectorAll('.chart .main-svg:first-of-type').length === {charts}")
    assert all(count > 0 for count in page.evaluate(DRAWN)), page.evaluate(DRAWN)
    assert all(background in found for found in page.evaluate(BACKGROUNDS)), page.evaluate(BACKGROUNDS)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background
