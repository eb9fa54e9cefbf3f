"""What page Answer draws of a whole answer: numbers, heat map, one row of it, and what its words do when deleted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_error, visible_token
from eqlin_core.figures.answer import every_cell_told
from eqlin_core.runs.answer import answer_groups
from eqlin_core.runs.faithfulness import rank_correlation
from eqlin_core.runs.groups import Group, groups_of, summed
from eqlin_core.runs.split import Split
from eqlin_core.runs.text import TEMPLATE
from pages.answers.jobs import without_groups
from pages.contributions.measured import choose_deletion, deletion, deletion_words
from pages.visit.page_jobs import page_jobs, waiting
from pages.widgets.charts import clicked, show
from pages.widgets.facts import fact, number_text, plain, signed, strip_of
from pages.widgets.text import clickable_text, explain_position
from pages.widgets.theme import theme

if TYPE_CHECKING:
    from eqlin_core.runs.answer import AnswerRun, GroupDeletionRun
    from eqlin_core.runs.values import Array
    from pages.worker.request import Request

# Up to so many groups the model is run without each of them unasked.
UNASKED = 60
AGREES = 0.5
# Tokens up to which the heat map has a column for each unless it is folded by hand.
FEW = 120
_MEASURE_ASKED = "answer_measure_asked"
_WORDS = {"token": "tokens", "word": "words", "sentence": "sentences", "line": "lines", "role": "messages"}


@dataclass(frozen=True)
class Folded:
    """A run by groups of its text: ``columns`` of all tokens, ``rows`` of the answer's; ``row`` is the chosen one."""

    run: AnswerRun
    by: str
    columns: list[Group]
    rows: list[Group]
    row: int | None  # None where what is explained is not of the answer

    @property
    def first(self) -> int:
        """The column where the answer begins."""
        return len(self.columns) - len(self.rows)

    @property
    def measure(self) -> str:
        """What is summed, in words."""
        return self.run.kind

    @property
    def noun(self) -> str:
        """What one group is called."""
        return _WORDS[self.by].removesuffix("s")

    def called(self, row: int) -> str:
        """A row's name in words: a token as it stands, other groups as text in quotes."""
        label = self.rows[row].label
        if self.by == "token":
            return visible_token(label, 24)
        text = " ".join(label.split())
        return f"“{plain(text if len(text) <= 32 else text[:31] + '…')}”"

    def terms_of(self, row: int | None) -> Array:
        """What each column adds to one row, or to the whole answer."""
        return self.run.parts(self.columns) if row is None else self.run.folded([self.rows[row]], self.columns)[0]


def choose_fold(run: AnswerRun) -> str:
    """Draw the choice of groups and give it."""
    chats = TEMPLATE in run.text.roles
    names = [by for by in _WORDS if by != "role" or chats]
    chosen = st.segmented_control(
        "By",
        names,
        format_func=lambda by: {"role": "message"}.get(by, by),
        default="token" if len(run.text.tokens) <= FEW else "word",
        required=True,
        key="fold",
        bind="query-params",
        help="Terms are summed over the tokens of a group, and stay exact: words, sentences, lines, and in a chat the "
        "messages. The template of a chat is one group; by token, every stretch of it is one.",
    )
    return str(chosen or "token")


def folded(run: AnswerRun, by: str, position: int) -> Folded:
    """The run by groups; the chosen row is that of the explained position."""
    columns = groups_of(run.text, by, template_together=by != "token")
    rows = answer_groups(columns, run.text.first)
    token = position + 1
    row = next((n for n, group in enumerate(rows) if token in group.members), None)
    return Folded(run, by, columns, rows, row)


def numbers(run: AnswerRun, ended: str) -> None:
    """The answer in one line of facts: how likely it is, and how exactly it is split."""
    n, total = len(run.terms), float(run.log_probabilities.sum())
    exact = run.exactness
    bound = exact.bounds[0]
    split = Split(run.kind, run.baseline, run.key.convention)
    cells = [
        fact("split", split.words, "What is summed, against what, and by which of the exact maps."),
        fact("answer", f"{n} token" + ("s" if n > 1 else "")),
        fact("log-probability", f"{number_text(total)} nats", "Of all its tokens, after the prompt."),
        fact(
            "rows sum to it within",
            f"{format_error(exact.reconstruction)} ({run.key.dtype}, bound {bound:.0e})",
            "The largest |sum of a row − w · y| / (|w| |y|), with y of the frozen network.",
        ),
        fact("a token's typical probability", number_text(math.exp(total / n)), "The geometric mean of all tokens'."),
        fact("frozen model differs by", format_error(exact.forward), "From the untouched one, in the row where most."),
    ]
    if not math.isnan(run.ends):
        cells.append(fact("ends here", f"{run.ends:.1%}", "The probability that the model ends its text now."))
    st.html(strip_of(*cells))
    if not exact.exact:
        leaks = f" It leaks in {', '.join(exact.leaks)}." if exact.leaks else ""
        st.error(f"This split is NOT exact.{leaks}", icon=":material/error:")
    if ended:
        st.caption(ended)


def heat_map(of: Folded) -> None:
    """The answer downwards, the text across; a click on a row explains it on every page."""
    run = of.run
    st.header(f"Every {'part' if of.by != 'token' else 'token'} of the answer as a sum over the text")
    seen = summed(
        np.array([[float(i < r + run.text.first) for i in range(len(run.text.tokens))] for r in range(len(run.terms))]),
        of.columns,
    )
    seen = np.stack([seen[[i - run.text.first for i in group.members]].sum(0) for group in of.rows])
    where = "a cell" if every_cell_told(seen > 0) else "the last cell of a row"
    show(
        figures.answer_heatmap(
            run.folded(of.rows, of.columns),
            [group.label for group in of.rows],
            [group.label for group in of.columns],
            values=run.over(of.rows, run.values),
            rest=run.over(of.rows, run.rest),
            seen=seen,
            muted=[group.role == TEMPLATE for group in of.columns],
            first=of.first,
            chosen=of.row,
            measure=of.measure,
            theme=theme(),
        ),
        "answer-map",
        f"Beside each row its {of.measure}: the row's cells and what no token carries sum to it exactly "
        f"({run.key.dtype}). Right of the line, what the answer's own earlier {_WORDS[of.by]} give. Click "
        f"{where} to explain its row on every page; drag to zoom.",
        on_click=lambda: _explain_clicked(of),
    )


def _explain_clicked(of: Folded) -> None:
    point = clicked("answer-map")
    if point is not None:
        explain_position(of.rows[int(point[0])].members[0] - 1)


def text(of: Folded, row: int | None) -> None:
    """The text with its groups marked, coloured by what each adds."""
    terms = of.terms_of(row)
    per_token = np.zeros(len(of.run.text.tokens))
    for group, term in zip(of.columns, terms, strict=True):
        per_token[list(group.members)] = term
    what = " of the whole answer" if row is None else f" of {visible_token(of.rows[row].label, 24)}"
    clickable_text(of.run.text, "answer-text", per_token, what, of.columns)


def one_row(of: Folded, apart: bool) -> None:
    """The chosen row's waterfall."""
    run = of.run
    if of.row is None:
        st.header("One part of the answer as a sum")
        st.info("What is explained now is not of the answer: click one of its tokens, or a row of the heat map.")
        return
    group = of.rows[of.row]
    # what comes after the part's last token cannot add to it
    before = [n for n, column in enumerate(of.columns) if column.members[0] < group.members[-1]]
    value = float(run.over([group], run.values)[0])
    rest = float(run.over([group], run.rest)[0])
    name = f"{of.measure} of {visible_token(group.label, 24)}"
    st.header(f"How the {of.measure} of {of.called(of.row)} comes about")
    show(
        figures.waterfall(
            rest,
            of.terms_of(of.row)[before],
            value,
            [of.columns[n].label for n in before],
            explained=group.label,
            target=name,
            apart=apart,
            top=24,
            tolerance=run.exactness.bounds[0] * 100,
            theme=theme(),
        ),
        "answer-row",
        "The bar ‘bias’ is what no token carries: the map's constant"
        + (", and the negative entropy of what the model expected here." if run.kind == "log-probability" else "."),
    )


def deleted(request: Request, of: Folded) -> GroupDeletionRun | None:
    """What the model does without each group, asked for by itself where they are few, else by a button."""
    if not _measured(of):
        return None
    return page_jobs().want("without-groups", without_groups(request, of.by, of.by != "token", deletion()))


def _measured(of: Folded) -> bool:
    """Whether the model is run without each group, or a button has to be pressed first."""
    return len(of.columns) <= UNASKED or st.session_state.get(_MEASURE_ASKED) == (of.run.key.token_ids, of.by)


def without(of: Folded, found: GroupDeletionRun | None, row: int | None) -> None:
    """Leave-one-out by group beside the exact terms, for the whole answer or its chosen row; and how far they agree."""
    what = "the answer" if row is None else of.called(row)
    st.header(f"What becomes of {what} without each {of.noun}")
    bars = st.container()  # one place, whatever is in it: the choice below stays, also where it cannot be carried out
    choose_deletion()
    with bars:
        if found is not None:
            agreed = _bars(of, found, row, what)
        elif _measured(of):
            waiting("without-groups", "leave-one-out")
        else:
            st.button(
                f"Measure: the model runs {len(of.columns) + 1} times",
                key="measure-groups",
                on_click=lambda: st.session_state.update({_MEASURE_ASKED: (of.run.key.token_ids, of.by)}),
            )
    if found is None:
        return
    if math.isnan(agreed):
        st.markdown("Too few groups to compare their order with leave-one-out.")
    else:
        low = " **Here the terms are bookkeeping, not importance:** trust the bars." if agreed < AGREES else ""
        st.markdown(f"Rank agreement of the terms with leave-one-out here: **{signed(agreed)}**.{low}")


def _bars(of: Folded, found: GroupDeletionRun, row: int | None, what: str) -> float:
    """The bars of leave-one-out with the terms; gives the rank agreement of the two."""
    wanted = slice(None) if row is None else [i - of.run.text.first for i in of.rows[row].members]
    last = of.rows[-1 if row is None else row].members[-1]
    before = [n for n, column in enumerate(of.columns) if column.members[0] < last]
    falls, terms = found.falls[wanted].sum(0)[before], of.terms_of(row)[before]
    show(
        figures.leave_one_out(
            falls,
            [of.columns[n].label for n in before],
            measure=f"log-probability of {what}",
            unit="nats",
            terms=terms,
            theme=theme(),
        ),
        "without-groups",
        f"Each group deleted from the untouched model's text by {deletion_words(found.deletion)} ({of.run.key.dtype}). "
        "Diamonds: the exact terms.",
    )
    return rank_correlation(terms, falls)
