"""A chart as a figure for a paper: the width of a journal's column, text that is readable there, vectors."""

from __future__ import annotations

import base64
import re
import tempfile
from html import escape
from pathlib import Path
from typing import Any

from eqlin_core import arguments
from eqlin_core.disk import write_file
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.figures import Chart
from eqlin_core.figures.palette import look
from eqlin_core.reports.charts import plain
from eqlin_core.reports.chromium import run_chromium
from eqlin_core.reports.proof import as_json

# Of one and of two columns, in millimetres, as Nature and others have them.
COLUMNS = {"single": 89.0, "double": 183.0}
NARROWEST, WIDEST = 40.0, 600.0
FORMATS = ("svg", "pdf", "png")
# Plotly's pixels on a millimetre: text of 12 pixels is then 7 points high, of 11 pixels 6.4.
PIXELS = 12 / (7 * 25.4 / 72)
DOTS = 600  # of a PNG, per inch
_FONT = 'Arial, Helvetica, "Liberation Sans", sans-serif'
_SVG = re.compile(r'<pre id="svg">([A-Za-z0-9+/=]+)</pre>')


def save_figure(
    chart: Chart,
    path: str | Path,
    width: str | float | int = "single",
    *,
    height: float | int | None = None,
    caption: bool = True,
) -> str:
    """Write a chart as .svg, .pdf or .png, and return its caption, which is in the SVG as its description as well.

    ``width`` is "single" (89 mm), "double" (183 mm) or millimetres; ``height`` in millimetres, by default what the
    chart has on a screen, at 7-point text. PNG has 600 dots an inch. ``caption=False`` leaves the description out.
    Needs a Chromium: raises EqlinError without one, for a chart of the dark theme, and for another suffix.
    """
    arguments.instance("chart", chart, Chart, "a Chart, as eqlin_core.figures gives one")
    place = arguments.path("path", path)
    kind = place.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise InvalidValue(f"path ends in .svg, .pdf or .png, not in {arguments.shown(place.suffix)}.")
    across = _millimetres(width)
    described = arguments.flag("caption", caption)
    figure = plain(chart.figure.to_dict())
    if figure["layout"].get("paper_bgcolor", "").lower() != look("light").background:
        raise InvalidValue('A figure for paper is light: build the chart with theme="light".')
    drawn = float(figure["layout"].get("height", 400)) / PIXELS
    up = drawn if height is None else arguments.number("height", height, 20.0, WIDEST)
    svg = _svg(figure, across, up, chart.caption if described else "")
    write_file(place, svg.encode() if kind == "svg" else _drawn(svg, kind, across, up), "The figure", folders=True)
    return chart.caption


def _millimetres(width: Any) -> float:
    if isinstance(width, str):
        return COLUMNS[arguments.choice("width", width, COLUMNS)]
    return arguments.number("width, unless it is a word,", width, NARROWEST, WIDEST)


def _svg(figure: dict[str, Any], across: float, up: float, caption: str) -> str:
    """The figure as an SVG of this size in millimetres."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - 5 MB

    size = {"width": round(across * PIXELS), "height": round(up * PIXELS)}
    layout = figure["layout"]
    layout["font"] = {**layout.get("font", {}), "family": _FONT}
    script = (
        f"const size = {as_json(size)}, figure = {as_json(figure)};"
        "Plotly.newPlot('chart', figure.data, {...figure.layout, ...size}, {staticPlot: true})"
        ".then((chart) => Plotly.toImage(chart, {format: 'svg', imageDataOnly: true, ...size})).then((svg) => {"
        "document.getElementById('chart').remove();"
        "document.getElementById('svg').textContent = btoa(unescape(encodeURIComponent(svg)));});"
    )
    page = (
        '<!doctype html><meta charset="utf-8"><div id="chart"></div><pre id="svg"></pre>'
        f"<script>{get_plotlyjs()}</script><script>{script}</script>"
    )
    with tempfile.TemporaryDirectory(prefix="eqlin-") as folder:
        place = Path(folder, "chart.html")
        place.write_text(page, encoding="utf-8")
        found = _SVG.search(run_chromium(place, "--dump-dom"))
    if found is None:
        raise EqlinError("Chromium did not draw the figure: try it again, or set EQLIN_CHROMIUM to another one.")
    svg = base64.b64decode(found[1]).decode()
    start = svg.index(">") + 1
    head = re.sub(r'\b(width|height)="[^"]*"', "", svg[:start], count=2)
    if "viewBox" not in head:
        head = head.replace("<svg", f'<svg viewBox="0 0 {size["width"]} {size["height"]}"', 1)
    head = head.replace("<svg", f'<svg width="{across:g}mm" height="{up:.4g}mm"', 1)
    return head + (f"<desc>{escape(caption)}</desc>" if caption else "") + svg[start:]


def _drawn(svg: str, kind: str, across: float, up: float) -> bytes:
    """The SVG as the bytes of a PDF page of its size, or of a PNG."""
    scale = DOTS / 25.4 / PIXELS
    style = f"@page {{ size: {across}mm {up}mm; margin: 0; }} body {{ margin: 0; background: white; }}"
    if kind == "png":  # in pixels, of which the screen has many
        style += f" svg {{ width: {across * PIXELS}px; height: {up * PIXELS}px; display: block; }}"
    else:
        style += " svg { display: block; max-height: 100vh; }"
    page = f'<!doctype html><meta charset="utf-8"><style>{style}</style>{svg}'
    with tempfile.TemporaryDirectory(prefix="eqlin-") as folder:
        place, made = Path(folder, "figure.html"), Path(folder, f"figure.{kind}")
        place.write_text(page, encoding="utf-8")
        if kind == "pdf":
            run_chromium(place, "--no-pdf-header-footer", f"--print-to-pdf={made}")
        else:
            size = f"--window-size={round(across * PIXELS)},{round(up * PIXELS)}"
            run_chromium(
                place, size, f"--force-device-scale-factor={scale:.4f}", "--hide-scrollbars", f"--screenshot={made}"
            )
        if not made.is_file():
            raise EqlinError("Chromium did not draw the figure: try it again, or set EQLIN_CHROMIUM to another one.")
        return made.read_bytes()
