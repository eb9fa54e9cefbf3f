"""The answer of ``eqlin run`` as tables: every token with what adds to it most and least, and the sum over all."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from eqlin_core.command.pieces import FAINT, titled_table, token_text, verdict
from eqlin_core.figures.labels import format_error, visible_token
from eqlin_core.runs.answer import AnswerRun
from eqlin_core.runs.split import baseline_words

# Tokens of the text that add most to a token of the answer, and as many that add least.
NAMED = 3


def answer_tables(answer: AnswerRun) -> Iterator[RenderableType]:
    """A row for every token of the answer; then the total, and how the sum over the rows was checked."""
    yield _rows(answer)
    yield _total(answer)
    yield verdict(answer.exactness, answer.exactness.bounds)


def extremes(answer: AnswerRun, row: int) -> tuple[list[int], list[int]]:
    """(positions that add most to a row, the most first; those that add least, the least first), none in both."""
    before = answer.terms[row, : answer.text.first + row]
    order = sorted(range(len(before)), key=lambda i: (-before[i], i))
    most = order[: min(NAMED, (len(order) + 1) // 2)]
    return most, order[len(most) :][::-1][:NAMED]


def _rows(answer: AnswerRun) -> Table:
    text = answer.text
    table = titled_table("Every token of the answer")
    table.add_column("token", overflow="fold", max_width=14)
    table.add_column("log p", justify="right", no_wrap=True)
    table.add_column("adds most", overflow="fold", ratio=1)
    table.add_column("adds least", overflow="fold", ratio=1)
    table.add_column("error", justify="right", no_wrap=True)
    for row, token in enumerate(text.tokens[text.first :]):
        table.add_row(
            token_text(token),
            f"{answer.log_probabilities[row]:.4f}",
            *(_named(answer, row, positions) for positions in extremes(answer, row)),
            format_error(answer.errors[row]),
        )
    against = "" if answer.baseline == "zero" else f", against {baseline_words(answer.baseline)}"
    table.caption = Text(
        f"terms of the text's tokens in each log-probability{against}; error: |sum − w · y| / (‖w‖ ‖y‖)", FAINT
    )
    table.caption_justify = "left"
    return table


def _named(answer: AnswerRun, row: int, positions: list[int]) -> Text:
    named = (f"{visible_token(answer.text.tokens[i])} {answer.terms[row, i]:+.2g}" for i in positions)
    return Text("\n".join(named))


def _total(answer: AnswerRun) -> Table:
    """The log-probability of the whole answer, and all that sums to it."""
    table = titled_table("The whole answer")
    table.add_column("", overflow="fold")
    table.add_column("sum over rows", justify="right", no_wrap=True)
    parts = [float(part.sum()) for part in (answer.terms, answer.constants, answer.normalisers)]
    constants = "biases, w · b" if answer.baseline == "zero" else "biases and baseline"
    table.add_row("terms of all tokens", f"{parts[0]:.4f}")
    table.add_row(Text(constants, FAINT), f"{parts[1]:.4f}")
    table.add_row(Text("normalisers", FAINT), f"{parts[2]:.4f}")
    table.add_section()
    table.add_row("sum", f"{sum(parts):.4f}")
    table.add_row("log-probability", f"{answer.log_probabilities.sum():.4f}")
    return table
