"""An analysis as tables for a terminal: they fold where it is narrow, and are plain text in a pipe."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eqlin_core.command.analysis import Analysis
from eqlin_core.command.answer_table import answer_tables
from eqlin_core.command.pieces import FAINT, titled_table, token_text, verdict
from eqlin_core.figures.labels import format_number, visible_token
from eqlin_core.reprs import counted
from eqlin_core.runs.prompt import SpectrumRun
from eqlin_core.runs.split import baseline_words
from eqlin_core.runs.values import Row

LIKELY = 5
READ = 6
_BAR = 16


def print_tables(analysis: Analysis, console: Console | None = None) -> None:
    """Print the analysis to the console, which is stdout unless given."""
    console = console or Console(highlight=False, emoji=False, markup=False)
    console.print(_head(analysis))
    console.print(verdict(analysis.exactness, analysis.run.bounds))
    console.print(_next_tokens(analysis))
    console.print(_contributions(analysis))
    if analysis.spectra is not None:
        console.print(_triplets(analysis.spectra))
    for part in () if analysis.answer is None else answer_tables(analysis.answer):
        console.print(part)


def _head(analysis: Analysis) -> Text:
    run = analysis.run
    facts = (
        run.key.model,
        run.key.dtype,
        run.device,
        f"map {run.key.convention.words}",
        *([] if run.baseline == "zero" else [f"baseline {baseline_words(run.baseline)}"]),
        _length(len(run.tokens), analysis.length),
        f"{run.n_layers} blocks",
        f"d = {run.width}",
    )
    return Text(", ".join(facts))


def _length(tokens: int, whole: int) -> str:
    """How long the text is, and how much of it the tables explain."""
    return counted(whole, "token") if tokens == whole else f"the first {tokens} of {whole} tokens"


def _next_tokens(analysis: Analysis) -> Table:
    table = titled_table("Likely next tokens")
    table.add_column("token", overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("logit", justify="right", no_wrap=True)
    for target in analysis.run.targets[:LIKELY]:
        table.add_row(token_text(target.token), f"{100 * target.probability:.1f} %", format_number(target.logit))
    return table


def _contributions(analysis: Analysis) -> Table:
    """Every token's term of the explained logit, their sum, and the logit."""
    terms, constant = analysis.terms
    table = titled_table(f"Contributions to the logit of {visible_token(analysis.target.token)}")
    table.add_column("token", overflow="fold")
    table.add_column("w · J x", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    largest = max((abs(term) for term in (*terms, constant)), default=0.0) or 1.0
    rows = [(token_text(token), float(term)) for token, term in zip(analysis.run.tokens, terms, strict=True)]
    if constant:
        of = "biases, w · b" if analysis.run.baseline == "zero" else "biases and baseline"
        rows.append((Text(of, FAINT), constant))
    for name, term in rows:
        bar = "█" * round(_BAR * abs(term) / largest)
        table.add_row(name, f"{term:.4f}", Text(bar, "red" if term < 0 else "blue"))
    table.add_section()
    table.add_row("sum", f"{analysis.total:.4f}", "")
    table.add_row("logit, w · y", f"{analysis.target.logit:.4f}", "")
    return table


def _triplets(spectra: SpectrumRun) -> Table:
    """The largest singular triplets of every token's matrix, and what they read as."""
    table = titled_table("Singular triplets of every token's matrix")
    table.add_column("token", overflow="fold", max_width=14)
    table.add_column("stable\nrank", justify="right", no_wrap=True)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("σ", justify="right", no_wrap=True)
    table.add_column("u writes", overflow="fold", ratio=1)
    table.add_column("v reads", overflow="fold", ratio=1)
    for i, token in enumerate(spectra.tokens):
        for n, sigma in enumerate(spectra.S[i]):
            first = n == 0
            table.add_row(
                token_text(token) if first else "",
                format_number(spectra.stable_rank[i]) if first else "",
                str(n + 1),
                format_number(sigma),
                _reads(spectra.reads_u[i][n]),
                _reads(spectra.reads_v[i][n]),
            )
    table.caption = Text("stable rank: ‖J‖²/σ₁²; u through the unembedding, v by cosine with the embeddings", FAINT)
    table.caption_justify = "left"
    return table


def _reads(row: Row) -> Text:
    return Text(" ".join(visible_token(token) for token, _ in row[:READ]))
