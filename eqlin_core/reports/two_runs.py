"""The pieces of a report that compares two runs: what differs, the way from one prediction to the other, spectra."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from eqlin_core import figures
from eqlin_core.figures import visible_token
from eqlin_core.reports.charts import chart_html, table_html
from eqlin_core.reports.contents import Report
from eqlin_core.reports.one_run import chips, direction, exactness, facts, figures_name, predictions, sum_words
from eqlin_core.runs.compare import RunComparison, compare_runs
from eqlin_core.runs.compare_spectra import SpectraComparison


def title_of_two(report: Report) -> str:
    """What is compared, in one line."""
    a, b = (visible_token(side.target.token) for side in report.sides)
    return f"Two runs: the {report.kind} of {a} and of {b}"


def pieces_of_two(report: Report) -> Mapping[str, str]:
    """Everything that is shown of two runs, A and B, in order, by name."""
    a, b = report.sides
    compared = compare_runs(
        a.run,
        b.run,
        kind=report.kind,
        target_a=a.target,
        target_b=b.target,
        spectra_a=a.spectra,
        spectra_b=b.spectra,
    )
    names = tuple(figures_name(side, report.kind) for side in report.sides)
    exact = all(side.run.exactness is not None and side.run.exactness.exact for side in report.sides)
    reach = max(abs(x) for side in report.sides for x in side.run.split(direction(side, report.kind))[0])
    pieces = {
        "top": f"<h1>{escape(title_of_two(report))}</h1>\n",
        "prompt": "".join(
            f"<h2>Run {name}</h2>\n{facts(side.run)}{exactness(side.run)}{chips(side, report.kind, reach)}"
            f"{predictions(side.run)}{sum_words(side, report.kind)}"
            for name, side in zip("AB", report.sides, strict=True)
        ),
        "differences": _differences(compared),
        "chart terms": "<h2>From A's prediction to B's</h2>\n"
        + chart_html(
            "terms",
            lambda theme: figures.compared_terms(
                compared.terms_a,
                compared.terms_b,
                compared.tokens,
                constants=(compared.a.constant, compared.b.constant),
                totals=(compared.a.total, compared.b.total),
                explained=(names[0], names[1]),
                bound=compared.bound if exact else float("inf"),
                theme=theme,
            ),
            "At the left every token's term in A and in B, at the right what it changed, on the way from A's total to "
            "B's.",
        ),
    }
    return pieces if compared.spectra is None else pieces | _spectra(compared, compared.spectra)


def _differences(compared: RunComparison) -> str:
    rows = [[what, _shown(a), _shown(b)] for what, a, b in compared.differs]
    table = table_html(["", "A", "B"], rows) if rows else "<p>They differ in nothing that their numbers depend on.</p>"
    missing = [sentence for name, sentence in compared.missing.items() if not name.startswith(("joint", "spectra"))]
    said = "".join(f"<p>{escape(sentence)}</p>\n" for sentence in [*compared.remarks, *missing])
    return f"<h2>What differs</h2>\n{table}{said}"


def _shown(text: str) -> str:
    """One line of at most 200 characters."""
    words = " ".join(text.split())
    return words if len(words) <= 200 else words[:199] + "…"


def _spectra(compared: RunComparison, spectra: SpectraComparison) -> dict[str, str]:
    pairs = [(compared.a.tokens[i], compared.b.tokens[j]) for i, j in spectra.pairs]
    if not pairs:
        return {"spectra": "<h2>Spectra</h2>\n<p>No token of A is aligned with one of B.</p>\n"}
    pieces = {
        "chart spectra": "<h2>Singular values of both</h2>\n"
        + chart_html(
            "spectra",
            lambda theme: figures.compared_spectra(spectra.S_a, spectra.S_b, pairs, theme=theme),
            "The largest singular values of every aligned token's matrix, in A and in B.",
        )
    }
    if spectra.left_angles is None or spectra.right_angles is None:
        said = escape(compared.missing["spectra.left_angles"])
        return pieces | {"angles": f"<h2>Angles between leading subspaces</h2>\n<p>{said}</p>\n"}
    left, right = spectra.left_angles, spectra.right_angles
    a, b = pairs[-1]
    name = visible_token(a) if a == b else f"{visible_token(a)} → {visible_token(b)}"
    rows = [
        [visible_token(x), visible_token(y), *(f"{side[i, -1]:.1f}°" for side in (left, right))]
        for i, (x, y) in enumerate(pairs)
    ]
    header = ["token in A", "token in B", "largest angle of what is written", "largest angle of what is read"]
    pieces["chart angles"] = (
        "<h2>Angles between leading subspaces</h2>\n"
        + chart_html(
            "angles",
            lambda theme: figures.subspace_angles(
                {"written (u)": left[-1], "read (v)": right[-1]}, name=name, theme=theme
            ),
            f"Principal angles between the spans of the first {spectra.leading} triplets of {name}, the last token "
            "that both runs have.",
        )
        + table_html(header, rows, numeric=(2, 3))
    )
    return pieces
