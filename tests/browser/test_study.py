"""Page Study with the real default model: from a file to a histogram, and a row that opens on the other pages."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
from playwright.sync_api import expect

from tests.browser.analysis import PATIENT, chart, part, tracebacks
from tests.browser.conftest import OpenPage
from tests.browser.visit import wait_finished, wait_idle

PROMPTS = ["The capital of France is", "The bridge out of Marin is", "Water boils at a temperature of"]


def test_from_an_upload_to_a_histogram_and_an_opened_row(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    page = open_page("/study?study_list=a+file+of+mine", height=1100)
    expect(page.get_by_text("A text file with a prompt a line")).to_be_visible(timeout=PATIENT)
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(tmp_path / "mine.txt")
    expect(page.get_by_text(re.compile("3 prompts of 5 to 6 tokens"))).to_be_visible(timeout=PATIENT)
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("3 prompts are there.")).to_be_visible(timeout=PATIENT)
    expect(page.get_by_text("All 3 prompts are measured.")).to_be_visible(timeout=PATIENT)
    wait_finished(page)
    expect(chart(page, "study-histograms")).to_be_visible()
    expect(chart(page, "study-histograms")).to_contain_text("position 4")
    page.get_by_role("tab", name="Two numbers").click()
    expect(chart(page, "study-scatter")).to_be_visible(timeout=PATIENT)
    page.get_by_role("tab", name="Prompts and tables").click()
    with page.expect_download() as waiting:
        part(page, "study-download", "button:visible").click()
    waiting.value.save_as(tmp_path / "tables.zip")
    with zipfile.ZipFile(tmp_path / "tables.zip") as archive:
        prompts = pq.read_table(io.BytesIO(archive.read("prompts.parquet"))).to_pylist()
    assert [row["prompt"] for row in prompts] == PROMPTS
    assert all(row["exact"] for row in prompts)
    table = part(page, "study_table", '[data-testid="stDataFrame"]')
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 14, box["y"] + 35 * 1.5)  # the box before the first row
    opening = page.get_by_role("button", name="Open this prompt")
    expect(opening).to_be_enabled(timeout=PATIENT)
    opening.click()
    page.get_by_role("link", name="See it on page Tokens").click(timeout=PATIENT)
    expect(page).to_have_url(re.compile(r"/tokens\?.*prompt=The\+capital\+of\+France\+is"), timeout=PATIENT)
    wait_idle(page)
    assert not tracebacks(page)
