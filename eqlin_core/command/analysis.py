"""What ``eqlin run`` prints, as runs: computed once, printed as tables or as JSON."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field

import numpy as np

from eqlin_core.command.asked import PLAIN, Asked, read_asked
from eqlin_core.command.waiting import say, waiting
from eqlin_core.runs.answer import AnswerRun
from eqlin_core.runs.convention import Convention
from eqlin_core.runs.exactness import Exactness
from eqlin_core.runs.prompt import SpectrumRun, Target, TokenRun
from eqlin_core.runs.values import Array


@dataclass(frozen=True)
class Analysis:
    """A prompt's run, the token whose logit is explained, and the singular triplets unless they were left out.

    ``weights`` are the SHA-256 of the model's files by name, where they were wanted. ``chat``: the prompt was one.
    ``length`` is how many tokens the text has, prompt and answer together; ``answer`` explains those of the answer.
    """

    run: TokenRun
    target: Target
    spectra: SpectrumRun | None
    weights: dict[str, str] = field(default_factory=dict)
    chat: bool = False
    length: int = 0
    answer: AnswerRun | None = None

    @property
    def exact(self) -> bool:
        """Whether the map is, and that of the answer where there is one."""
        return self.exactness.exact and (self.answer is None or self.answer.exactness.exact)

    @property
    def exactness(self) -> Exactness:
        """Of the matrix where there is one, else of the contributions."""
        measured = self.run.exactness if self.spectra is None else self.spectra.exactness
        assert measured is not None  # only a preview has none
        return measured

    @property
    def terms(self) -> tuple[Array, float]:
        """(w . J_i x_i of every token [T], w . b), which sum to the explained logit w . y."""
        terms, constant, _ = self.run.split(self.target.row)
        return terms, constant

    @property
    def total(self) -> float:
        """The sum of all terms."""
        terms, constant = self.terms
        return float(np.sum(terms) + constant)


def analyse(
    model: str,
    prompt: str,
    *,
    dtype: str,
    device: str,
    convention: Convention,
    k: int,
    token: str | None,
    baseline: str | int = "zero",
    with_weights: bool = False,
    asked: Asked = PLAIN,
) -> Analysis:
    """Load the model and analyse the prompt, with a bar on stderr. Raises EqlinError with what to do."""
    with waiting() as told:
        from eqlin_core import linearize, load_model, plan_run  # noqa: PLC0415 - torch is slow to import
        from eqlin_core.analysis.answer import answer_run  # noqa: PLC0415
        from eqlin_core.analysis.prompt import spectrum_run, token_run, typed_target  # noqa: PLC0415
        from eqlin_core.models.weights import weights_of  # noqa: PLC0415
        from eqlin_core.models.written import written_as  # noqa: PLC0415
        from eqlin_core.resources.answers import plan_answer  # noqa: PLC0415

        lm = load_model(model, dtype, device, progress=told)
        text, position, chat = read_asked(lm, prompt, asked, told)
        ids, whole = text.token_ids[: position + 1], len(text.token_ids)
        if k:
            plan_run(lm, len(ids), convention)  # a matrix that cannot fit is refused before anything is computed
        if whole > text.first:
            say(plan_answer(lm, whole, whole - text.first, convention).sentence())
        lin = linearize(lm, token_ids=ids, **convention.keywords)
        target = None if token is None else typed_target(lin, token)
        run = token_run(lin, written_as(lm, ids, None if asked.chat else prompt, chat), told, baseline=baseline)
        spectra = spectrum_run(lin, k, progress=told) if k else None
        del lin
        gc.collect()  # its recording, which refers to itself, makes room for the answer's
        answer = None
        if whole > text.first:
            lin = linearize(lm, token_ids=text.token_ids, **convention.keywords)
            answer = answer_run(lin, text, baseline=baseline, progress=told)
        weights = weights_of(lm, told) if with_weights else {}
    return Analysis(run, target or run.targets[0], spectra, weights, asked.chat, whole, answer)
