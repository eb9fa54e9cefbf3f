"""Small made-up results and an engine that gives them, for the logic of pages: no model, and every number known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eqlin_core.errors import EqlinError
from eqlin_core.runs.convention import PUBLISHED
from eqlin_core.runs.exactness import Exactness
from eqlin_core.runs.prompt import EarlySpectra, RunKey, SpectrumRun, Target, TokenRun
from eqlin_core.runs.treatments import Treatment
from pages.visit import jobs as jobs_module
from pages.visit import session as session_module
from pages.widgets import downloads as downloads_module
from pages.worker import engine as engine_module
from pages.worker.question import Question
from pages.worker.request import Request
from pages.worker.worker import Job, Worker

D, K = 4, 2
WORDS = (" Golden", " Bay", "\n", " red")
EXACT = Exactness(reconstruction=3e-7, forward=4e-7, dtype="float32", exact=True, leaks=[])
TREATMENTS = [
    Treatment("MadeUpModel", 1, "sum of its parts", "model"),
    Treatment("MadeUpMLP", 2, "gate held whole, up linear", "model.layers.0.mlp"),
    Treatment("MadeUp<Norm>", 3, "LEAKS: Abs is not linear", "model.layers.0.norm"),
]
LEAKING = Exactness(reconstruction=0.2, forward=4e-7, dtype="float32", exact=False, leaks=["model.layers.3.mlp"])


def target(i: int, token: str = "", probability: float = 0.0) -> Target:
    """The token whose logit is the i-th coordinate of the output."""
    return Target(i, token or WORDS[i], np.eye(D)[i], logit=10.0 - i, probability=probability or 0.5 / (i + 1))


def token_run(prompt: str = "The bridge", exactness: Exactness = EXACT) -> TokenRun:
    """A run of two tokens in four dimensions whose parts sum to its output."""
    contributions = np.array([[6.0, 4.0, 5.0, 1.0], [3.0, 4.5, 2.0, 5.5]])
    bias = np.array([1.0, 0.5, 1.0, 0.5])
    return TokenRun(
        key=RunKey("made-up", "0", "float32", tuple(ord(letter) for letter in prompt), "up"),
        prompt=prompt,
        device="cpu",
        expected=np.full(D, 0.25),
        width=D,
        n_layers=1,
        tokens=["The", " bridge"],
        inputs=np.ones((2, D)),
        output=contributions.sum(0) + bias,
        bias=bias,
        contributions=contributions,
        targets=[target(i) for i in range(D)],
        exactness=exactness,
        bounds=(1e-5, 1e-4),
        treatments=TREATMENTS,
    )


def spectrum_run(run: TokenRun) -> SpectrumRun:
    """Spectra in which triplet k of every token writes coordinate k, with twice the size for the first."""
    T = len(run.tokens)
    return SpectrumRun(
        key=run.key,
        tokens=run.tokens,
        U=np.stack([np.eye(D)[:, :K]] * T),
        S=np.array([[2.0, 1.0]] * T),
        Vh=np.stack([np.eye(D)[:K]] * T),
        stable_rank=np.full(T, 1.25),
        projections=np.ones((T, K)),
        reads_u=[[[(f" u{t}{k}{r}", 1.0 / (r + 1)) for r in range(6)] for k in range(K)] for t in range(T)],
        reads_v=[[[(f"v{t}{k}{r}", 0.5 / (r + 1)) for r in range(6)] for k in range(K)] for t in range(T)],
        exactness=run.exactness or EXACT,
    )


def early_run(run: TokenRun, *there: int) -> EarlySpectra:
    """The triplets of some tokens, before the spectra of all."""
    whole, T = spectrum_run(run), len(run.tokens)
    missing = [token for token in range(T) if token not in there]
    parts = {name: np.array(getattr(whole, name)) for name in ("U", "S", "Vh", "stable_rank", "projections")}
    for part in parts.values():
        part[missing] = np.nan
    parts["stable_rank"][:] = np.nan
    reads = {
        name: [rows if token in there else [] for token, rows in enumerate(getattr(whole, name))]
        for name in ("reads_u", "reads_v")
    }
    rest = {"key": run.key, "tokens": run.tokens, "exactness": whole.exactness}
    return EarlySpectra(**parts, **reads, **rest, there=there, awaited=2, residual=3e-4)  # type: ignore[arg-type]


class MadeUpEngine:
    """What `engine()` gives, with results that are known; a prompt that says so fails, or has its spectra held up.

    The spectra of a "wide" prompt are published early for the last token, and then for both.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.computed: list[tuple[str, str]] = []
        self.hold: Any = None  # a Gate that spectra wait at
        self.between: Any = None  # one that the second early result waits at
        self.saved: set[Request] = set()
        self.readied: list[Request] = []
        self.damaged = ""

    def submit(self, question: Question[Any], visitor: str) -> Job:
        """The job of the made-up answer to a question of the analysis."""
        name, *asked = question.key
        answer = getattr(self, str(name).rpartition(".")[2])
        return self.worker.submit(
            question.key,
            lambda progress: answer(progress, *asked),
            label=question.label,
            visitor=visitor,
            interactive=question.interactive,
        )

    def shipped(self, question: Question[Any], visitor: str) -> None:
        """Nothing came with it."""

    def damage(self, request: Request) -> str:
        """What is wrong with the weights on the disk."""
        return self.damaged

    def fetched_again(self, progress: Any, request: Request) -> None:
        """Fetch whole ones."""
        if self.damaged == "not ours":
            raise EqlinError("This folder is no copy that eqlin fetched: mend it by hand.")
        self.damaged = ""

    def ready(self, progress: Any, request: Request) -> None:
        self.readied.append(request)

    def tokens(self, progress: Any, request: Request, fresh: bool, baseline: str | int) -> TokenRun:
        of_the_page = request.by(PUBLISHED) if (split := not request.convention.published) else request
        if of_the_page in self.saved and not fresh:
            return replace(self._split(request, baseline), saved=True, made="2026-11-22T10:00:00+00:00")
        self.computed.append(("split" if split else "tokens", request.prompt))
        if "impossible" in request.prompt:
            raise EqlinError("This prompt is impossible; type another.")
        if "long" in request.prompt:
            progress.publish("preview", replace(token_run(request.prompt), exactness=None, complete=False))
            if self.hold is not None:
                self.hold(progress)
        return self._split(request, baseline)

    @staticmethod
    def _split(request: Request, baseline: str | int) -> TokenRun:
        run = token_run(request.prompt)
        return replace(run, key=replace(run.key, **request.convention.keywords), baseline=baseline)

    def spectra(self, progress: Any, request: Request, fresh: bool) -> SpectrumRun:
        if request in self.saved and not fresh:
            return spectrum_run(token_run(request.prompt))
        self.computed.append(("spectra", request.prompt))
        if "wide" in request.prompt:
            progress.publish("early", early_run(token_run(request.prompt), 1))
            if self.between is not None:
                self.between(progress)
            progress.publish("early", early_run(token_run(request.prompt), 0, 1))
        if self.hold is not None:
            self.hold(progress)
        return spectrum_run(token_run(request.prompt))

    def target(self, progress: Any, request: Request, text: str) -> Target:
        if text != "Venice":
            raise EqlinError(f"{text!r} is not a single token of made-up.")
        return target(3, " Venice", 0.001)

    def target_of(self, progress: Any, request: Request, token: int) -> Target:
        return Target(token, "Venice", np.eye(D)[3], logit=1.0, probability=0.001)


def give(patch: pytest.MonkeyPatch, engine: Any) -> None:
    """Let ``engine`` be the one that all pages get."""
    for module in (engine_module, jobs_module, session_module, downloads_module):
        patch.setattr(module, "engine", lambda: engine)
