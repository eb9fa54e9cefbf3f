"""Everything that was computed of one analysis, as one object, which one file holds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from eqlin_core.reprs import Facts, ShortRepr, counted, excerpt
from eqlin_core.runs.convention import Convention, Share
from eqlin_core.runs.exactness import BOUNDS
from eqlin_core.runs.kinds import Answer
from eqlin_core.runs.prompt import SpectrumRun, TokenRun


def check_kept(run: KeptRun) -> None:
    """Raise ValueError where what a run says does not go together, so that a page would fail on it."""
    run.convention  # noqa: B018 - raises where there is no such one
    datetime.fromisoformat(run.made)
    prompts = {answer.key.token_ids for answer in run.answers.values() if hasattr(answer, "key")}
    if run.dtype not in BOUNDS or len(prompts) > 1:
        raise ValueError(type(run).__name__)


@dataclass(frozen=True, repr=False)
class KeptRun(ShortRepr):
    """What was asked (prompt, model, precision, map) and every answer to it, by a name of what was asked.

    ``chat``: the prompt is a chat, as ``read_chat`` reads it; ``answer`` follows the prompt, and ``position`` is whose
    next token was explained, None for the last of the prompt.

    ``made`` is when it was first kept (ISO 8601, UTC); ``name`` and ``note`` are what somebody wrote on it, and a
    ``pinned`` one is not removed when room is needed. ``predicted`` is the most likely next token.
    """

    prompt: str
    model: str
    dtype: str
    gated_path: Share
    attention: Share
    begin: bool
    made: str
    predicted: str = ""
    name: str = ""
    note: str = ""
    pinned: bool = False
    answers: dict[str, Answer] = field(default_factory=dict)
    chat: bool = False
    answer: str = ""
    position: int | None = None

    def _facts(self) -> Facts:
        yield "model", self.model
        yield "prompt", excerpt(self.prompt)
        yield "dtype", self.dtype
        yield "map", self.convention.words
        yield "answers", counted(len(self.answers), "answer")

    @property
    def convention(self) -> Convention:
        """Which of the exact maps it is of."""
        return Convention(self.gated_path, self.attention)

    @property
    def tokens(self) -> TokenRun | None:
        """The contributions by the map that was asked for; None while there are none."""
        runs = [run for run in self.answers.values() if isinstance(run, TokenRun)]
        return next((run for run in runs if run.key.convention == self.convention), None)

    @property
    def spectra(self) -> SpectrumRun | None:
        """The spectra of every token's matrix; None while there are none."""
        return next((run for run in self.answers.values() if isinstance(run, SpectrumRun)), None)

    def with_answers(self, other: KeptRun) -> KeptRun:
        """The same with the answers of another run of this analysis in place of, or beside, its own."""
        return replace(self, predicted=other.predicted or self.predicted, answers=self.answers | other.answers)

    def marked(self, *, name: str | None = None, note: str | None = None, pinned: bool | None = None) -> KeptRun:
        """The same with another name, another note, pinned or not; None leaves what is there."""
        return replace(
            self,
            name=self.name if name is None else name,
            note=self.note if note is None else note,
            pinned=self.pinned if pinned is None else pinned,
        )
