"""Which results can stand in a file, and what has to agree within them that the types of their fields do not say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard, get_args

from eqlin_core.runs.answer import AnswerRun, GroupDeletionRun
from eqlin_core.runs.convention import Convention
from eqlin_core.runs.deletion import ConventionsRun, CurvesRun, HiddenRun, LeaveOneOutRun
from eqlin_core.runs.exactness import BOUNDS, Exactness
from eqlin_core.runs.groups import Group
from eqlin_core.runs.layers import HeadsRun, SweepRun
from eqlin_core.runs.matrix import Line, MatrixRun, MatrixView, Reconstruction
from eqlin_core.runs.prompt import RunKey, SpectrumRun, Target, TokenRun, TokenRuns
from eqlin_core.runs.ranks import JointRun, RankRun
from eqlin_core.runs.steering import (
    Flip,
    ForecastRun,
    Guide,
    Measured,
    NamedWord,
    OperatorFacts,
    OperatorFile,
    SteeringGrid,
    SteeringPlan,
    Text,
)
from eqlin_core.runs.text import RunText
from eqlin_core.runs.treatments import Treatment
from eqlin_core.runs.validity import CounterfactualRun, ValidityRun

OfAnswers = AnswerRun | GroupDeletionRun
Split = TokenRun | TokenRuns | LeaveOneOutRun | ConventionsRun | HiddenRun | CurvesRun
OfMatrices = SpectrumRun | RankRun | JointRun | MatrixRun | MatrixView | Reconstruction | SweepRun | HeadsRun
Reach = ValidityRun | CounterfactualRun
# What answers a question as a whole; the other classes stand inside of these.
Answer = Split | OfAnswers | OfMatrices | Reach | SteeringGrid | Guide
ANSWERS: tuple[type, ...] = get_args(Answer)
_PARTS = (RunKey, Target, Exactness, Treatment, Convention, Line, RunText, Group)
_OF_STEERING = (SteeringPlan, OperatorFile, OperatorFacts, Text, Measured, NamedWord, ForecastRun, Flip)
CLASSES: dict[str, type] = {kind.__name__: kind for kind in (*ANSWERS, *_PARTS, *_OF_STEERING)}


def is_answer(value: Any) -> TypeGuard[Answer]:
    """Whether a value is what answers a question as a whole."""
    return isinstance(value, ANSWERS)


def check_agreement(value: Any) -> None:
    """Raise ValueError where what one of these holds does not go together, so that a page would fail on it."""
    for kind, agrees in _AGREE.items():
        if isinstance(value, kind) and not all(agrees(value)):
            raise ValueError(kind.__name__)


def _exactness(e: Exactness) -> Iterator[bool]:
    yield e.dtype in BOUNDS
    yield e.products in ("ieee", "tf32")


def _key(key: RunKey) -> Iterator[bool]:
    yield key.dtype in BOUNDS
    yield key.convention is not None  # raises where there is no such one


def _tokens(run: TokenRun) -> Iterator[bool]:
    yield {len(run.output), *(len(t.row) for t in run.targets)} == {run.width}


def _spectra(run: SpectrumRun) -> Iterator[bool]:
    yield {len(run.reads_u), len(run.reads_v)} == {len(run.tokens)}


def _ranks(run: RankRun) -> Iterator[bool]:
    yield len(run.top) == len(run.error) > 0
    yield len(run.true_top) > 0
    yield run.keeps is None or 0 <= run.keeps <= run.largest


def _joint(run: JointRun) -> Iterator[bool]:
    yield len(run.reads_u) == len(run.reads_v) == len(run.S)
    yield all(0 <= token < len(run.tokens) for token in run.main)


def _matrix(run: MatrixRun) -> Iterator[bool]:
    yield all(0 <= line.index < len(run.column_norms) for line in run.columns)
    yield all(0 <= line.index < len(run.row_norms) for line in run.rows)


def _view(view: MatrixView) -> Iterator[bool]:
    for (first, last), block, cells in zip((view.rows, view.columns), view.block, view.cells.shape, strict=True):
        yield 0 <= first < last
        yield block > 0
        yield math.ceil((last - first) / block) == cells


def _sweep(run: SweepRun) -> Iterator[bool]:
    places = run.stable_rank.shape
    yield 0 < places[0] <= run.n_layers
    yield places[1:] == (len(run.kinds), len(run.tokens) + 1)
    yield len(set(run.kinds)) == len(run.kinds)
    yield "layer" in run.kinds
    yield {int(i) for ids in (run.u_ids, run.v_ids, run.y_ids) for i in ids.flat} <= run.names.keys()


def _heads(run: HeadsRun) -> Iterator[bool]:
    yield len(run.total) == len(run.ids) + 1
    yield run.heads.shape[-1] == len(run.tokens)


def _left_out(run: LeaveOneOutRun) -> Iterator[bool]:
    yield run.logits.shape[1] == len(run.target_ids)


def _conventions(run: ConventionsRun) -> Iterator[bool]:
    yield len(run.conventions) == len(run.terms)


def _text(text: RunText) -> Iterator[bool]:
    yield len({len(text.token_ids), len(text.tokens), len(text.roles), len(text.messages)}) == 1
    yield 0 < text.first <= len(text.tokens)


def _answer(run: AnswerRun) -> Iterator[bool]:
    rows, tokens = run.terms.shape
    yield tokens == len(run.text.tokens)
    yield 0 < rows == run.text.answer_tokens == len(run.likely)
    yield list(run.key.token_ids) == run.text.token_ids


def _deleted(run: GroupDeletionRun) -> Iterator[bool]:
    rows, groups = run.falls.shape
    yield 0 < rows < len(run.key.token_ids)
    yield groups == len(run.groups)
    for group in run.groups:
        yield group.members != () and 0 <= min(group.members) <= max(group.members) < len(run.key.token_ids)


def _curves(run: CurvesRun) -> Iterator[bool]:
    yield all(len(curve) == len(run.points) for curve in (*run.deletion.values(), *run.insertion.values()))


def _validity(run: ValidityRun) -> Iterator[bool]:
    n = len(run.fractions)
    yield n > 1
    yield 0 <= run.position < len(run.key.token_ids)
    yield len(run.frozen_top) == len(run.model_top) == n
    yield tuple(run.parts) == ("map", "attention", "norms", "gates")


def _counterfactual(run: CounterfactualRun) -> Iterator[bool]:
    yield 0 < len(run.positions) == len(run.map)
    yield len(run.tokens) == len(run.others) == len(run.other_ids)
    yield all(0 <= i < len(run.tokens) for i in run.positions)
    yield tuple(run.hidden)[:3] == ("attention", "norms", "gates")
    yield tuple(run.hidden)[3:] in ((), ("softmax",))


def _forecast(run: ForecastRun) -> Iterator[bool]:
    yield run.real.shape[1] == len(run.tokens)


def _facts(facts: OperatorFacts) -> Iterator[bool]:
    yield len(facts.stable_rank) == len(facts.tokens)


def _grid(grid: SteeringGrid) -> Iterator[bool]:
    rows = len(grid.strengths)
    yield grid.strengths == grid.plan.strengths
    yield len(grid.texts) == rows
    yield len(grid.control_texts) in (0, rows)
    yield all(len(measured.concept) == rows for measured in (grid.measured, grid.control) if measured is not None)
    yield all(len(word.log_probability) == rows for word in grid.named)
    yield grid.plan.convention is not None  # raises where there is no such one


def _guide(guide: Guide) -> Iterator[bool]:
    yield len(guide.reads) == len(guide.log_probability)
    yield len(guide.words) == len(guide.word_log_probability)
    yield all(len(curve) == len(guide.reads) for curve in guide.word_log_probability)


_AGREE: dict[type, Callable[[Any], Iterator[bool]]] = {
    Exactness: _exactness,
    RunKey: _key,
    TokenRun: _tokens,
    SpectrumRun: _spectra,
    RankRun: _ranks,
    JointRun: _joint,
    MatrixRun: _matrix,
    MatrixView: _view,
    SweepRun: _sweep,
    HeadsRun: _heads,
    LeaveOneOutRun: _left_out,
    ConventionsRun: _conventions,
    RunText: _text,
    AnswerRun: _answer,
    GroupDeletionRun: _deleted,
    CurvesRun: _curves,
    ValidityRun: _validity,
    CounterfactualRun: _counterfactual,
    ForecastRun: _forecast,
    OperatorFacts: _facts,
    SteeringGrid: _grid,
    Guide: _guide,
}
