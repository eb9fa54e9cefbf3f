"""What a visitor does on the app's pages, and what the pages then show, as values that a test can compare."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page, expect

from tests.browser.visit import wait_finished, wait_idle

MARIN = "The bridge out of Marin is the"
# The default model computes the matrix of a token in about a second and loads in two; a busy machine takes far longer.
PATIENT = 240_000.0
# A chart once it is drawn: its place stands on the page before Plotly has filled it.
PLOT = ".js-plotly-plot:has(.main-svg)"
# What Streamlit marks as left of the run before, and what it keeps in sight beside something passing.
STALE = ':is([data-stale="true"], [data-retained])'
# The charts of a page, by the tab that they stand in; "" is what stands above the tabs.
TOKEN_TABS = {"": ("waterfall",), "Size and direction": ("norms",), "Likely next tokens": ("heatmap",)}
SPECTRA_TABS = {
    "One token's triplets": ("readout",),
    "What each triplet does": ("effect",),
    "Singular values": ("singular-values", "stable-ranks"),
}
TOKEN_CHARTS = tuple(key for keys in TOKEN_TABS.values() for key in keys)
SPECTRA_CHARTS = tuple(key for keys in SPECTRA_TABS.values() for key in keys)
# The tokens of page Tokens; behind them stands a place for what follows.
CHIPS = ".st-key-box-chips .eq-token:not(:last-child)"
# What the address of page Answer says so that it has something to show, of the first prompt.
ANSWERED = "answer=+Golden+Gate+Bridge."

# The traces of a chart as plain numbers; Plotly keeps what came in binary as a typed array beside the original.
DATA = """chart => {
    const plain = value => {
        if (value && value.bdata !== undefined) value = value._inputArray;
        if (ArrayBuffer.isView(value) || Array.isArray(value)) return Array.from(value, plain);
        return value === undefined ? null : value;
    };
    return chart.data && chart.data.map(trace => Object.fromEntries(
        ['type', 'name', 'x', 'y', 'z', 'base', 'customdata'].map(key => [key, plain(trace[key])])));
}"""


def fresh(key: str, inside: str) -> str:
    """The selector of what is inside the app's part of this key, without what is left there of the run before.

    While the app draws a page anew, an old element can stand beside its successor, under the same key.
    """
    return f".st-key-{key} {inside}:not({STALE}, {STALE} *)"


def part(page: Page, key: str, inside: str) -> Locator:
    """What is inside the app's part of this key; see ``fresh``."""
    return page.locator(fresh(key, inside))


def chart(page: Page, key: str) -> Locator:
    """The one chart that the app draws under this key, waited for."""
    drawn = part(page, key, PLOT)
    expect(drawn).to_have_count(1, timeout=PATIENT)
    return drawn


def traces(page: Page, key: str) -> list[dict[str, Any]]:
    """The data that the chart draws, one mapping a trace."""
    drawn = chart(page, key)
    expect(drawn).to_be_visible(timeout=PATIENT)
    for _ in range(50):  # between two drawings a chart has no data for a moment
        found: list[dict[str, Any]] | None = drawn.evaluate(DATA)
        if found:
            return found
        page.wait_for_timeout(100)
    raise AssertionError(f"The chart {key} has no data.")


def charts(page: Page, tabs: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    """The data of these charts by their keys, each read in its tab; the last tab stays open."""
    found: dict[str, list[dict[str, Any]]] = {}
    for tab, keys in tabs.items():
        if tab:
            open_tab(page, tab)
        found |= {key: traces(page, key) for key in keys}
    return found


def matrix(trace: dict[str, Any]) -> list[list[float]]:
    """The z of a heat map as rows."""
    width = len(trace["x"])
    flat = [value for row in trace["z"] for value in (row if isinstance(row, list) else [row])]
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def axis_title(page: Page, key: str, axis: str = "yaxis") -> str:
    """The title of a chart's axis."""
    found: str = chart(page, key).evaluate("(chart, axis) => chart.layout[axis].title.text", axis)
    return found


def axis_type(page: Page, key: str, axis: str = "yaxis") -> str:
    """How a chart's axis is scaled: "log", "linear" or "category"."""
    found: str = chart(page, key).evaluate("(chart, axis) => chart._fullLayout[axis].type", axis)
    return found


def chips(page: Page) -> list[str]:
    """The prompt's tokens, as the chips above the charts show them."""
    return page.locator(CHIPS).all_inner_texts()


def text_token(page: Page, key: str, words: str) -> Locator:
    """A token of the text that can be clicked, by what it shows: the last that shows this."""
    return part(page, f"box-{key}", ".eq-token").filter(has_text=re.compile(f"^{re.escape(words)}$")).last


def explained_token(page: Page, key: str) -> Locator:
    """The token of the text that is explained."""
    return part(page, f"box-{key}", ".eq-token[aria-current]")


def facts(page: Page) -> dict[str, str]:
    """The status strip: its names and what stands behind them."""
    pairs = page.locator(".eq-strip .eq-fact").evaluate_all(
        "cells => cells.map(cell => { const name = cell.querySelector('b').innerText;"
        " return [name, cell.innerText.slice(name.length).trim()]; })"
    )
    return dict(pairs)


def predictions(page: Page) -> list[tuple[str, float]]:
    """The next tokens in the status strip with their probabilities."""
    names = page.locator(".eq-strip .eq-chip").all_inner_texts()
    shares = page.locator(".eq-strip .eq-p").all_inner_texts()
    return [(name, float(share.rstrip("%")) / 100) for name, share in zip(names, shares, strict=True)]


def badge(page: Page) -> Locator:
    """The button that says whether the analysis is exact."""
    return part(page, "strip", '[data-testid="stPopover"] button:visible')


def address(page: Page) -> dict[str, str]:
    """What the page's address carries."""
    return {name: values[-1] for name, values in parse_qs(urlsplit(page.url).query, keep_blank_values=True).items()}


def prompt_box(page: Page) -> Locator:
    """Where the prompt is typed."""
    return page.get_by_label("Prompt", exact=True)


def progress(page: Page) -> Locator:
    """How the analysis under way is getting on."""
    return part(page, "progress", '[data-testid="stProgress"]')


def analyse(page: Page) -> None:
    """Choose Analyse; what follows is not waited for."""
    page.get_by_role("button", name="Analyse", exact=True).click()


def ask(page: Page, prompt: str) -> None:
    """Type a prompt and choose Analyse; what follows is not waited for."""
    prompt_box(page).fill(prompt)
    analyse(page)


def wait_for_tokens(page: Page, count: int) -> None:
    """Wait until the contributions of a prompt of so many tokens are shown; its matrix may still be under way."""
    wording = "1 token" if count == 1 else f"{count} tokens"
    expect(page.locator(".eq-strip")).to_contain_text(re.compile(rf"prompt\s*{wording}(?!s)"), timeout=PATIENT)
    if urlsplit(page.url).path == "/tokens":  # which has a split of its own, a moment later
        expect(page.locator(CHIPS)).to_have_count(count, timeout=PATIENT)
    wait_idle(page)


def cancel(page: Page) -> None:
    """Stop what is under way, so that the next test finds the worker free; nothing to do when it was already done."""
    page.locator('.st-key-cancel button, .st-key-resume button, [data-testid="stApp"]').first.wait_for()
    button = part(page, "cancel", "button:enabled")
    if button.count():
        button.click()
    wait_finished(page)


def choose(page: Page, label: str, option: str) -> None:
    """Choose an option of a select box, or type one that is not among them, and wait until the page has followed."""
    box = page.get_by_role("combobox", name=label, exact=True)
    box.click()
    box.fill(option)
    page.get_by_role("option").first.wait_for()
    box.press("Enter")
    wait_idle(page)


def choose_value(page: Page, option: str) -> None:
    """Choose an option of a row of buttons, and wait until the page has followed."""
    page.get_by_role("radio", name=option, exact=True).click()
    wait_idle(page)


def open_tab(page: Page, name: str) -> None:
    """Open a tab of the page, and wait until the page has followed; what it shows may still be under way."""
    tab = page.get_by_role("tab", name=name, exact=True)
    expect(tab).to_be_visible(timeout=PATIENT)
    tab.click()
    expect(tab).to_have_attribute("aria-selected", "true")
    wait_idle(page)


def opened_tab(page: Page) -> str:
    """The name of the tab that is open."""
    return page.locator('[role="tab"][aria-selected="true"]:visible').inner_text()


def open_choices(page: Page) -> None:
    """Open what holds target, baseline and dials, unless it is open."""
    button = part(page, "choices", "button").first
    if button.get_attribute("aria-expanded") != "true":
        button.click()
    page.locator(".st-key-split_gated").wait_for()


def close_choices(page: Page) -> None:
    """Close what holds target, baseline and dials."""
    page.keyboard.press("Escape")
    expect(page.locator(".st-key-split_gated")).to_be_hidden()


def dial(page: Page, key: str, press: str) -> None:
    """Turn a dial of page Tokens by the keyboard, Home and End are its ends, and wait for the split by that map."""
    open_choices(page)
    page.locator(f".st-key-{key}").get_by_role("slider").press(press)
    wait_finished(page)


def published(page: Page) -> None:
    """Turn both dials of page Tokens to the published map."""
    for key in ("split_gated", "split_attention"):
        dial(page, key, "Home")
    close_choices(page)


def errors(page: Page) -> list[str]:
    """The sentences of errors on the page."""
    return page.locator('[data-testid="stAlertContentError"]').all_inner_texts()


def warnings(page: Page) -> list[str]:
    """The sentences of warnings on the page."""
    return page.locator('[data-testid="stAlertContentWarning"]').all_inner_texts()


def tracebacks(page: Page) -> int:
    """How many tracebacks the page shows."""
    return page.locator('[data-testid="stException"], .stException').count() + page.get_by_text("Traceback").count()


def downloaded_csv(page: Page, key: str, folder: Path) -> list[dict[str, str]]:
    """The rows of a chart's CSV, downloaded by its button."""
    with page.expect_download() as waiting:
        part(page, f"{key}-csv", "button:visible").click()
    file = folder / waiting.value.suggested_filename
    waiting.value.save_as(file)
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    said = [line for line in lines if line.startswith("# ")]
    assert len(said) == 6, "which run it is of"
    return list(csv.DictReader(io.StringIO("".join(lines[len(said) :]))))


def downloaded_picture(page: Page, key: str, folder: Path) -> Path:
    """A chart's picture, downloaded by the camera in its toolbar."""
    drawn = chart(page, key)
    drawn.hover()
    with page.expect_download() as waiting:
        drawn.locator('.modebar-btn[data-title^="Download plot"]').click()
    file = folder / waiting.value.suggested_filename
    waiting.value.save_as(file)
    return file


def open_page_named(page: Page, name: str) -> None:
    """Go to another page of the app by its navigation."""
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.locator('[data-testid="stSidebarNavLink"][aria-current="page"]')).to_have_text(re.compile(name))
    wait_idle(page)
