"""A report: one HTML file that shows a run, or two side by side, holds it, and says how to compute it again."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from eqlin_core import arguments
from eqlin_core.disk import write_file
from eqlin_core.reports.charts import table_html
from eqlin_core.reports.contents import Report, report_of
from eqlin_core.reports.one_run import pieces_of_run, title_of
from eqlin_core.reports.pieces import joined
from eqlin_core.reports.proof import as_json, proof_of
from eqlin_core.reports.stored import in_base64, run_bytes
from eqlin_core.reports.two_runs import pieces_of_two, title_of_two
from eqlin_core.runs.compared_run import Wanted
from eqlin_core.runs.prompt import SpectrumRun, TokenRun
from eqlin_core.runs.split import TargetKind

# Nothing is fetched and nothing sent, whatever a text in the file says: what it shows is all in it.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_HERE = Path(__file__).parent


def write_report(
    path: str | Path,
    run: TokenRun,
    *,
    spectra: SpectrumRun | None = None,
    compared_with: TokenRun | None = None,
    compared_spectra: SpectrumRun | None = None,
    target: Wanted = None,
    compared_target: Wanted = None,
    kind: TargetKind = "logit",
    weights: Mapping[str, str] | None = None,
    compared_weights: Mapping[str, str] | None = None,
) -> None:
    """Write one HTML file that shows a run, or two side by side, and holds it: it opens offline and asks for nothing.

    ``target`` is the likely next token that is explained, as `Target`, text or id; None is the most likely one; and
    ``kind`` is what is explained of it. ``weights`` are the SHA-256 of the model's files by name (`weights_of`). The
    file has 5 MB for the script that draws, and 4/3 of what `save_run` writes: of T tokens in d dimensions 11 T d
    bytes, 11 T d k more with k triplets of each, and twice that in float64. Raises EqlinError for a preview, for
    spectra of another run, and where the file cannot be written.
    """
    place = arguments.path("path", path)
    html = report_html(
        run,
        spectra=spectra,
        compared_with=compared_with,
        compared_spectra=compared_spectra,
        target=target,
        compared_target=compared_target,
        kind=kind,
        weights=weights,
        compared_weights=compared_weights,
    )
    write_file(place, html.encode(), "The report", folders=True)


def report_html(
    run: TokenRun,
    *,
    spectra: SpectrumRun | None = None,
    compared_with: TokenRun | None = None,
    compared_spectra: SpectrumRun | None = None,
    target: Wanted = None,
    compared_target: Wanted = None,
    kind: TargetKind = "logit",
    weights: Mapping[str, str] | None = None,
    compared_weights: Mapping[str, str] | None = None,
) -> str:
    """The same as a text: what `write_report` writes, in UTF-8. The same arguments give the same text."""
    targets, checksums = (target, compared_target), (weights, compared_weights)
    report = report_of(run, spectra, compared_with, compared_spectra, kind, targets, checksums)
    return joined(pieces_of(report, stored_in(report)))


def stored_in(report: Report) -> dict[str, bytes]:
    """The runs that the file holds, by the id of their element."""
    stored = {}
    for name, side in zip(("a", "b"), report.sides, strict=False):
        stored[f"run-{name}"] = run_bytes(side.run)
        if side.spectra is not None:
            stored[f"spectra-{name}"] = run_bytes(side.spectra)
    return stored


def pieces_of(report: Report, stored: Mapping[str, bytes]) -> dict[str, str]:
    """The whole file, in pieces by name: made of the contents alone, so that a reader can make it again."""
    two = len(report.sides) > 1
    shown = pieces_of_two(report) if two else pieces_of_run(report)
    proof = proof_of(report, stored)
    return {
        "head": _head(title_of_two(report) if two else title_of(report)),
        **shown,
        "proof": _proof(proof),
        **{name: _element("octet-stream", name, in_base64(content)) for name, content in stored.items()},
        "plotly": f"<script>{_plotly()}</script>\n",
        "drawing": f"<script>{_text('draw.js')}</script>\n</main></body></html>\n",
    }


def _head(title: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)} (eqlin)</title>\n<style>{_text('look.css')}</style>\n"
        f"<script>{_text('theme.js')}</script></head>\n<body><main>\n"
        '<button id="theme" type="button" hidden>Dark</button>\n'
        "<noscript><p>The charts are drawn by a script in this file, which this browser does not run.</p></noscript>\n"
    )


def _proof(proof: Mapping[str, Any]) -> str:
    """What is claimed, for people and as JSON."""
    header = ["", *(["A", "B"] if len(proof["runs"]) > 1 else ["this run"])]
    rows = [[said, *(_claim(run[name]) for run in proof["runs"])] for name, said in _CLAIMS.items()]
    written = f"Written by eqlin {proof['eqlin']}, engine {proof['engine'][:12]}, charts by plotly {proof['plotly']}."
    return (
        f"<h2>Proof</h2>\n<p>{escape(written)} The runs are in this file. <code>eqlin verify FILE</code> computes them "
        "again with the same model and compares every number, and what this page shows.</p>\n"
        f"{table_html(header, rows)}{_element('json', 'proof', as_json(proof))}"
    )


_CLAIMS = {
    "model": "model",
    "revision": "revision",
    "weights": "SHA-256 of its files",
    "dtype": "precision",
    "split": "baseline and map",
    "prompt": "prompt",
    "token_ids": "token ids",
    "reconstruction": "reconstruction error",
    "reconstruction_bound": "its bound",
    "forward": "forward error",
    "forward_bound": "its bound",
    "made": "computed",
    "device": "device",
}


def _claim(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {digest}" for name, digest in value.items()) or "not known"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value) or "not known"


def _element(kind: str, name: str, content: str) -> str:
    """A script element that no browser runs."""
    return f'<script type="application/{kind}" id="{name}">{content}</script>\n'


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - 5 MB that only a report needs

    return str(get_plotlyjs())


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
