"""The pieces of a report that show one run: its sum, its charts, and its spectra."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

import numpy as np

from eqlin_core import figures
from eqlin_core.figures import LogProbability, Theme, format_error, format_number, visible_token
from eqlin_core.reports.charts import chart_html, table_html
from eqlin_core.reports.contents import Report, Side
from eqlin_core.runs.prompt import SpectrumRun, TokenRun
from eqlin_core.runs.split import TargetKind, baseline_words
from eqlin_core.runs.values import Array

LIKELY = 5
# Triplets of each token in the table, and tokens that each of their vectors is read as.
TRIPLETS, READ = 3, 6


def title_of(report: Report) -> str:
    """What the report is of, in one line."""
    side = report.sides[0]
    return f"The {report.kind} of {visible_token(side.target.token)}, split over the prompt"


def pieces_of_run(report: Report) -> Mapping[str, str]:
    """Everything that is shown of one run, in order, by name."""
    side = report.sides[0]
    run, kind = side.run, report.kind
    shown = figures_name(side, kind)
    said = f"{kind} of {visible_token(side.target.token)}"
    terms, bias, total = run.split(direction(side, kind))
    rows = np.stack([t.row for t in run.targets])
    if kind == "log-probability":
        rows = rows - run.expected
    marked = next(i for i, t in enumerate(run.targets) if t.token_id == side.target.token_id)

    def waterfall(theme: Theme) -> figures.Chart:
        return figures.waterfall(bias, terms, total, run.tokens, explained=shown, tolerance=tolerance(run), theme=theme)

    def heat_map(theme: Theme) -> figures.Chart:
        return figures.token_target_heatmap(
            run.contributions @ rows.T,
            run.tokens,
            [t.token if kind == "logit" else LogProbability(t.token) for t in run.targets],
            explained=marked,
            probabilities=[t.probability for t in run.targets],
            theme=theme,
        )

    pieces = {
        "top": f"<h1>{escape(title_of(report))}</h1>\n{facts(run)}{exactness(run)}",
        "prompt": f"<h2>Prompt and prediction</h2>\n{chips(side, kind)}{predictions(run)}{sum_words(side, kind)}",
        "chart waterfall": f"<h2>How the {escape(said)} comes about</h2>\n"
        + chart_html("waterfall", waterfall, f"The {said} as a sum: the bias, then the term of every input token."),
        "chart vectors": "<h2>Size and direction of the contributions</h2>\n"
        + chart_html(
            "vectors",
            lambda theme: figures.norms_and_cosines(run, theme=theme),
            "The length of every token's contribution J x, and its cosine with the output y.",
        ),
        "chart next-tokens": "<h2>Input tokens by likely next tokens</h2>\n"
        + chart_html(
            "next-tokens",
            heat_map,
            f"What every input token adds to the {kind} of every likely next token; each row and the bias sum to it.",
        ),
    }
    return pieces if side.spectra is None else pieces | _spectra(side.spectra)


def direction(side: Side, kind: TargetKind) -> Array:
    """w: the row of the explained token, less the mean row where a log-probability is explained."""
    row = side.target.row
    return row if kind == "logit" else np.asarray(row - side.run.expected)


def figures_name(side: Side, kind: TargetKind) -> str:
    """The explained token as the charts take it."""
    return side.target.token if kind == "logit" else LogProbability(side.target.token)


def tolerance(run: TokenRun) -> float:
    """How far the parts of a chart's sum may miss it: what the dtype allows; a map that is not exact is drawn too."""
    assert run.exactness is not None
    return run.bounds[0] * 100 if run.exactness.exact else math.inf


def facts(run: TokenRun) -> str:
    """What ran, in one line."""
    words = [
        run.key.model,
        run.key.dtype if run.exactness is None else run.exactness.arithmetic,
        run.device,
        f"map {run.key.convention.words}",
        f"baseline {baseline_words(run.baseline)}",
        f"{len(run.tokens)} tokens" if len(run.tokens) > 1 else "1 token",
        f"{run.n_layers} blocks",
        f"d = {run.width}",
    ]
    return f'<p class="facts">{escape(", ".join(words))}</p>\n'


def exactness(run: TokenRun) -> str:
    """The verdict with both errors and their bounds, and what leaks."""
    measured = run.exactness
    assert measured is not None
    said = (
        f"reconstruction {format_error(measured.reconstruction)} (bound {run.bounds[0]:.0e}), "
        f"forward {format_error(measured.forward)} (bound {run.bounds[1]:.0e})"
    )
    leaks = "".join(f"<br>leak: {escape(leak)}" for leak in measured.leaks)
    verdict, kind = ("Exact", "exact") if measured.exact else ("NOT EXACT", "wrong")
    return f'<p class="verdict {kind}"><strong>{verdict}</strong>: {said}{leaks}</p>\n'


def chips(side: Side, kind: TargetKind, limit: float | None = None) -> str:
    """The prompt's tokens, coloured by their terms, once for each theme."""
    terms, _, _ = side.run.split(direction(side, kind))

    def block(theme: Theme) -> str:
        html = figures.chips_html(side.run.tokens, terms, limit, theme, explained=figures_name(side, kind))
        return f'<div class="in-{theme}">{html}</div>\n'

    return f'<div class="chips">{block("light")}{block("dark")}</div>\n'


def predictions(run: TokenRun) -> str:
    """The most likely next tokens."""
    rows = [
        [visible_token(t.token), f"{100 * t.probability:.1f} %", format_number(t.logit)] for t in run.targets[:LIKELY]
    ]
    return table_html(["next token", "probability", "logit"], rows, numeric=(1, 2))


def sum_words(side: Side, kind: TargetKind) -> str:
    """The exact sum in one line. Sums are rounded once, so that this text is the same on every processor."""
    run, w = side.run, direction(side, kind)
    parts = math.fsum([*(run.contributions * w).ravel().tolist(), *(run.bias * w).tolist()])
    total = math.fsum((run.output * w).tolist())
    what = "the logit is" if kind == "logit" else "w · y, the logit less the mean of all logits, is"
    return (
        f'<p class="sum">Bias and tokens sum to {parts:.6g}, {what} {total:.6g}; they differ by '
        f"{format_error(abs(parts - total))} ({escape(run.key.dtype)}).</p>\n"
    )


def _spectra(spectra: SpectrumRun) -> dict[str, str]:
    return {
        "chart singular-values": "<h2>Singular values of every token's matrix</h2>\n"
        + chart_html(
            "singular-values",
            lambda theme: figures.singular_values(spectra, theme=theme),
            "The largest singular values of every input token's matrix, one line a token.",
        ),
        "chart stable-ranks": "<h2>Stable ranks</h2>\n"
        + chart_html(
            "stable-ranks",
            lambda theme: figures.stable_ranks(spectra, theme=theme),
            "The stable rank of every input token's matrix, its squared Frobenius norm over its largest squared "
            "singular value; 1 is the least.",
        ),
        "triplets": "<h2>What the largest triplets write and read</h2>\n" + triplets(spectra),
    }


def triplets(spectra: SpectrumRun) -> str:
    """The first triplets of every token: sigma, and what u and v read as."""
    rows = [
        [
            visible_token(token) if k == 0 else "",
            f"{k + 1}",
            _reads(spectra.reads_u[i][k]),
            _reads(spectra.reads_v[i][k]),
            format_number(spectra.S[i, k]),
        ]
        for i, token in enumerate(spectra.tokens)
        for k in range(min(TRIPLETS, spectra.S.shape[1]))
    ]
    header = ["input token", "k", "u writes", "v reads", "σ"]
    return table_html(header, rows, "u through the unembedding, v by cosine with the input embeddings", numeric=(1, 4))


def _reads(row: list[tuple[str, float]]) -> str:
    return " ".join(visible_token(token) for token, _ in row[:READ])
