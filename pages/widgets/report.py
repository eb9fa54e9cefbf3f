"""The report of a run, or of two side by side, as a download: made when it is pressed, on the download's own thread."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pages.visit.session import session
from pages.widgets.downloads import WAIT_SECONDS, download_link
from pages.worker import analysis
from pages.worker.engine import Engine, engine

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import TokenRun
    from pages.worker.request import Request

_HELP = (
    "One HTML file that opens anywhere, offline: every chart, the numbers in it, and the proof: model, checksum of its "
    "weights, precision, map and errors. `eqlin verify FILE` computes it again and compares."
)


def report_button(run: TokenRun, request: Request, key: str, **options: Any) -> None:
    """A button for the report of ``run``; ``options`` are those of `report_html`, but for the checksums.

    With ``compared_with`` the other run is one of the same model, or has no checksum in the report.
    """
    data = partial(_html, engine(), session().visitor, request, run, options)
    download_link("Report", data, "eqlin-report.html", mime="text/html", key=key, help=_HELP)


def _html(engine: Engine, visitor: str, request: Request, run: TokenRun, options: dict[str, Any]) -> str:
    from eqlin_core.reports.report import report_html  # noqa: PLC0415 - brings the script that draws

    job = engine.submit(analysis.checksums(request), visitor)
    job.wait(WAIT_SECONDS)
    weights = job.snapshot(visitor).result or {}
    other = options.get("compared_with")
    if other is not None and (other.key.model, other.key.dtype) == (run.key.model, run.key.dtype):
        options = options | {"compared_weights": weights}
    return report_html(run, weights=weights, **options)
