"""Figures for papers, drawn by the Chromium: sizes in millimetres, text of a readable height, vectors."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Browser

import eqlin_core as eq
from eqlin_core import figures
from eqlin_core.reports import chromium as finding
from tests.browser.chromium import candidates
from tests.eqlin_core.reports.cases import nasty_run

RUN = nasty_run()
CHART = figures.norms_and_cosines(RUN).of(eq.provenance_of(RUN, explained=RUN.targets[0].token))


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _same_chromium(chromium: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    program = next(candidates()) or chromium.browser_type.executable_path
    monkeypatch.setenv("EQLIN_CHROMIUM", program)


@pytest.mark.parametrize(("width", "millimetres"), [("single", 89), ("double", 183), (120, 120)])
def test_an_svg_has_the_columns_width_and_text_of_six_to_eight_points(
    width: str | int, millimetres: int, tmp_path: Path
) -> None:
    said = eq.save_figure(CHART, tmp_path / "figure.svg", width)
    root = ElementTree.parse(tmp_path / "figure.svg").getroot()
    assert root.attrib["width"] == f"{millimetres}mm"
    pixels = float(root.attrib["viewBox"].split()[2])
    sizes = {float(size) for size in re.findall(r"font-size: (\d+)px", (tmp_path / "figure.svg").read_text("utf-8"))}
    points = {size * millimetres / pixels / 25.4 * 72 for size in sizes}
    assert points
    assert min(points) > 6
    assert max(points) < 8
    description = root.find("{http://www.w3.org/2000/svg}desc")
    assert description is not None
    assert description.text == said == CHART.caption
    assert not [element for element in root.iter() if element.tag.endswith(("script", "foreignObject"))]


def test_a_pdf_is_a_page_of_the_figures_size(tmp_path: Path) -> None:
    eq.save_figure(CHART, tmp_path / "figure.pdf", "single", height=60)
    content = (tmp_path / "figure.pdf").read_bytes()
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", content)
    assert len(boxes) == 1
    assert [float(size) / 72 * 25.4 for size in boxes[0]] == pytest.approx([89, 60], abs=0.5)


def test_a_png_has_600_dots_an_inch(tmp_path: Path) -> None:
    eq.save_figure(CHART, tmp_path / "figure.png", "single", height=60)
    content = (tmp_path / "figure.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    across, up = struct.unpack(">II", content[16:24])
    assert across == pytest.approx(89 / 25.4 * 600, abs=6)
    assert up == pytest.approx(60 / 25.4 * 600, abs=6)


def test_what_cannot_be_drawn_ends_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(eq.EqlinError, match=r"^path ends in \.svg, \.pdf or \.png, not in '\.gif'\.$"):
        eq.save_figure(CHART, tmp_path / "figure.gif")
    with pytest.raises(eq.EqlinError, match=r"^A figure for paper is light"):
        eq.save_figure(figures.norms_and_cosines(RUN, theme="dark"), tmp_path / "figure.svg")
    with pytest.raises(eq.EqlinError, match=r"^width is 'single' or 'double', not 'wide'\.$"):
        eq.save_figure(CHART, tmp_path / "figure.svg", "wide")
    monkeypatch.setenv("EQLIN_CHROMIUM", "/nowhere/chromium")
    with pytest.raises(eq.EqlinError, match=r"^Figures for papers are drawn by a Chromium, and there is none: install"):
        eq.save_figure(CHART, tmp_path / "figure.svg")
    program = tmp_path / "fails"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("EQLIN_CHROMIUM", str(program))
    with pytest.raises(eq.EqlinError, match=r"^Chromium did not draw the figure"):
        eq.save_figure(CHART, tmp_path / "figure.svg")
    assert [file.name for file in tmp_path.iterdir()] == ["fails"]
    monkeypatch.delenv("EQLIN_CHROMIUM")
    monkeypatch.setattr(finding, "NAMES", ())
    monkeypatch.setattr(finding, "PLACES", ())
    with pytest.raises(eq.EqlinError, match="there is none"):
        eq.save_figure(CHART, tmp_path / "figure.svg")
