"""A small made-up sweep whose every number is known, and jobs that give it without a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from eqlin_core.runs.layers import HeadsRun, SweepRun
from eqlin_core.runs.prompt import TokenRun
from pages.worker.question import Question
from pages.worker.request import Request
from pages.worker.worker import Job, Reporter, Worker
from tests.pages.run_cases import D, token_run

L, K, R = 3, 2, 8
KINDS = ("layer", "attn", "mlp")
NAMES = {i: f" w{i}" for i in range(60)}


def sweep_run(mode: str = "cumulative", run: TokenRun | None = None) -> SweepRun:
    """sigma of layer l, column c and triplet k is 10 (l + 1) + c + 1 / (k + 1); u reads as word 30 + l everywhere."""
    run = run or token_run()
    C = len(run.tokens) + 1
    layer, column, k = np.meshgrid(np.arange(L), np.arange(C), np.arange(K), indexing="ij")
    sigma = 10.0 * (layer + 1) + column + 1 / (k + 1)
    place = (L, len(KINDS), C)
    ids = np.broadcast_to((30 + np.arange(L)[:, None, None, None, None] + np.arange(R)), (*place, K, R)).copy()
    return SweepRun(
        key=run.key,
        mode=mode,
        n_layers=L,
        kinds=KINDS,
        method="forward",
        tokens=run.tokens,
        names=NAMES,
        U=np.broadcast_to(np.eye(D)[:, :K], (*place, D, K)).copy(),
        S=np.repeat(sigma[:, None], len(KINDS), 1),
        stable_rank=np.full(place, 1.5 if mode == "cumulative" else 20.0),
        projections=np.full((*place, K), -2.0),
        cosines=np.full((*place, K), -0.5),
        u_ids=ids,
        u_scores=np.ones((*place, K, R)),
        v_ids=ids + 10,
        v_scores=np.ones((*place, K, R)),
        y_ids=np.broadcast_to(np.arange(R) + 20, (L, len(KINDS), R)).copy(),
        errors=np.full((L, len(KINDS)), 2e-7),
        exact=True,
    )


def first_run(layers: int = L) -> SweepRun:
    """What is there of the same sweep while the rest is computed: block outputs of so many layers."""
    whole = sweep_run()
    names = ("U", "S", "stable_rank", "projections", "cosines", "errors", "y_ids")
    reads = [f"{side}_{n}" for side in "uv" for n in ("ids", "scores")]
    arrays = {name: getattr(whole, name)[:layers, :1] for name in (*names, *reads)}
    return replace(whole, kinds=KINDS[:1], **arrays)


def heads_run(ids: tuple[int, ...], run: TokenRun | None = None) -> HeadsRun:
    """Head h of layer l writes 0.1 (l + 1) (h + 1) of token id 0's logit by each token, and nothing of the others."""
    run = run or token_run()
    T, H = len(run.tokens), 2
    one = 0.1 * np.arange(1, L + 1)[:, None, None] * np.arange(1, H + 1)[:, None] * np.ones(T)
    heads = np.stack([one if i == 0 else np.zeros_like(one) for i in (*ids, -1)])  # nothing of the mean logit
    m = len(heads)
    return HeadsRun(
        key=run.key,
        tokens=run.tokens,
        ids=ids,
        heads=heads,
        attn=heads.sum(2),
        mlp=np.ones((m, L, T)),
        embedding=np.zeros((m, T)),
        attn_bias=np.zeros((m, L)),
        mlp_bias=np.zeros((m, L)),
        other_bias=np.full(m, 0.5),
        total=heads.sum((1, 2, 3)) + L * T + 0.5,
    )


class MadeUpLayers:
    """In place of the page's questions and the engine: the worker runs them, and ``hold`` may keep the sweeps up."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.computed: list[Any] = []
        self.hold: Any = None
        self.failure: Exception | None = None
        self.publishes = False
        self.comes: set[str] = set()  # the names of questions whose answer is shipped
        self.model: Any = lambda progress: None  # what loads it

    def submit(self, question: Question[Any], visitor: str) -> Job:
        name, *asked = question.key
        answer: Any = getattr(self, str(name).rpartition(".")[2])
        return self.worker.submit(
            question.key, lambda progress: answer(progress, *asked), label=question.label, visitor=visitor
        )

    def shipped(self, question: Question[Any], visitor: str) -> Job | None:
        name = str(question.key[0]).rpartition(".")[2]
        answers: dict[str, Any] = {"first": first_run, "heads": lambda: heads_run((0, 1))}
        there = name in self.comes
        return self.worker.ended(question.key, answers[name](), question.label, visitor) if there else None

    def ready(self, progress: Reporter, request: Request) -> None:
        self.model(progress)

    def sweep(self, progress: Reporter, request: Request, mode: str) -> SweepRun:
        self.computed.append((request.prompt, mode))
        if mode == "cumulative" and self.publishes:
            progress.publish("first", first_run())
        if self.hold is not None:
            self.hold(progress)
        if self.failure is not None:
            raise self.failure
        return sweep_run(mode)

    def heads(self, progress: Reporter, request: Request, ids: tuple[int, ...], baseline: str | int) -> HeadsRun:
        self.computed.append((request.prompt, ids))
        return heads_run(ids)
