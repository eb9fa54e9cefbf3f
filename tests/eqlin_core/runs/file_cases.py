"""A small made-up result of every kind that has a file, and whether two are the same."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from eqlin_core.runs.answer import AnswerRun, GroupDeletionRun
from eqlin_core.runs.convention import Convention
from eqlin_core.runs.deletion import ConventionsRun, CurvesRun, HiddenRun, LeaveOneOutRun
from eqlin_core.runs.files import Run
from eqlin_core.runs.groups import groups_of
from eqlin_core.runs.matrix import Line, MatrixRun, MatrixView, Reconstruction
from eqlin_core.runs.prompt import TokenRuns
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
from eqlin_core.runs.validity import CounterfactualRun, ValidityRun
from tests.pages.run_cases import EXACT, D, K, spectrum_run, token_run
from tests.pages.sweep.layer_cases import heads_run, sweep_run


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit, in type as well."""
    if type(one) is not type(other):
        return False
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return same([*one.items()], [*other.items()])
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def matrix_run() -> MatrixRun:
    """Of a token with four rows and columns, reduced to two."""
    view = MatrixView(1, (0, D), (0, D), (2, 2), np.arange(4, dtype=np.float32).reshape(2, 2))
    lines = [Line(index, 2.0 - index, [(" bay", 0.5)]) for index in range(2)]
    norms = np.ones(D, dtype=np.float32)
    return MatrixRun(token_run().key, 1, " bridge", view, 2.5, 3.0, norms, 2 * norms, lines, lines)


def steering_grid() -> SteeringGrid:
    """All stages of a grid whose operator came in a file."""
    plan = SteeringPlan("", "a prompt", 1, file=OperatorFile("mine.safetensors", b"\x00 not read \xff"))
    rows = len(plan.strengths)
    texts = [Text([" a"], [row], " a", False) for row in range(rows)]
    measured = Measured(*(np.linspace(0, n, rows) for n in (1, 2, 3)))
    table = np.ones((rows, 2))
    forecast = ForecastRun(measured.concept, [" a", " b"], table, table, table, table[:, 0], table[:, 1], 0.4)
    return SteeringGrid(
        plan,
        "made-up",
        "float32",
        plan.strengths,
        ["a", " prompt"],
        [OperatorFacts("bay", 1, ["bay"], np.ones(1), [(" bay", 0.5)], angle=80.0)],
        texts,
        [" bay"],
        measured,
        texts,
        measured,
        forecast,
        Flip(" b", 2, 0.7, 0.65, " a", 2.0),
        True,
        [NamedWord(" bay", measured.concept), NamedWord(" b", measured.concept, measured.divergence)],
    )


def answer_run() -> AnswerRun:
    """Of a chat with an answer of three tokens, whose terms are whole numbers."""
    roles = ["template", "user", "user", "template", "assistant", "assistant", "assistant"]
    tokens = ["<s>", "The", " bridge", "</s>", "Gold", "en", "."]
    text = RunText(list(range(10, 17)), tokens, roles, [-1, 0, 0, -1, 1, 1, 1], 4)
    terms = np.tril(np.arange(1.0, 22.0).reshape(3, 7), 3)
    constants, normalisers = np.array([1.0, 2.0, 3.0]), np.array([-10.0, -20.0, -30.0])
    return AnswerRun(
        key=replace(token_run().key, token_ids=tuple(text.token_ids)),
        text=text,
        kind="log-probability",
        baseline="mean",
        terms=terms,
        constants=constants,
        normalisers=normalisers,
        values=terms.sum(1) + constants + normalisers,
        log_probabilities=np.array([-1.0, -0.5, -0.25]),
        errors=np.full(3, 1e-7),
        likely=[[(" Gold", 0.5)], [("en", 0.75), ("\n", 0.125)], []],
        ends=0.5,
        exactness=EXACT,
        made="2026-11-27T10:00:00+00:00",
    )


def group_deletion_run() -> GroupDeletionRun:
    """Of the same text, by its messages."""
    run = answer_run()
    return GroupDeletionRun(run.key, "removal", groups_of(run.text, "role"), np.arange(9.0).reshape(3, 3))


def every_run() -> list[Run]:
    """One of every kind."""
    run = token_run()
    vector, terms = np.arange(float(D)), np.ones((2, len(run.tokens)))
    row = [(" bay", 0.5), ("\n", 0.25)]
    return [
        run,
        TokenRuns([run, replace(run, key=replace(run.key, gated_path="half"))]),
        spectrum_run(run),
        RankRun(run.key, False, D, vector, vector, vector, [[], *[row] * (D - 1)], row, None),
        JointRun(
            run.key,
            run.tokens,
            np.eye(D)[:, :K],
            np.ones(K),
            np.eye(D)[:K],
            1.5,
            terms,
            terms,
            np.array([0, 1]),
            [row] * K,
            [row] * K,
        ),
        matrix_run(),
        matrix_run().whole,
        Reconstruction(("norms",), "float32", vector, vector, 0.1, 1e-5, False, ["a leak"]),
        sweep_run(),
        heads_run((0, 3)),
        LeaveOneOutRun(run.key, "mean", run.tokens, [0, 3], terms, terms),
        ConventionsRun(run.key, run.tokens, [Convention(), Convention("half", 0.3)], terms, terms[0]),
        HiddenRun(run.key, run.tokens, {"exact map": terms[0], "norms": terms[1]}, terms[0]),
        CurvesRun(run.key, run.tokens, [0, 1], {"split": terms[0]}, {"chance": terms[1]}),
        answer_run(),
        group_deletion_run(),
        steering_grid(),
        ValidityRun(
            run.key,
            1,
            " bridge",
            "token",
            " tunnel",
            7,
            vector,
            vector,
            np.arange(D),
            np.arange(D),
            ["a"] * D,
            ["b"] * D,
            " bay",
            dict.fromkeys(("map", "attention", "norms", "gates"), vector),
            np.append(np.nan, vector[1:]),
            None,
            1.5,
        ),
        CounterfactualRun(
            run.key,
            (1, 2),
            "log-probability",
            " bay",
            run.tokens,
            ["A", " bridge"],
            [0],
            np.ones(1),
            {"attention": 0.5, "norms": -0.25, "gates": 1.0, "softmax": 0.0},
            -2.0,
            0.25,
        ),
        Guide("bay", [row], [-0.5], " bay", [" bay"], [[-0.5]]),
    ]
