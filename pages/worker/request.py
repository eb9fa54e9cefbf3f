"""What a visitor asked for: a model, its precision, the convention and a prompt."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from eqlin_core.runs.convention import Convention, Share
from eqlin_core.runs.split import Split

DEFAULT_MODEL = "smollm2-135m"
PRECISIONS = ("float32", "float64", "bfloat16", "float16")
EXAMPLES = (
    "The bridge out of Marin is the",
    "The capital of France is",
    "Once upon a time, there was a little",
    "The quick brown fox jumps over the lazy",
    "2, 4, 8, 16, 32,",
    "def add(a, b):\n    return a +",
)


# What page Tokens opens with, chosen by measurement (docs/faithfulness.md); other pages open with the published map.
DEFAULT_SPLIT = Split("logit", "zero", Convention("half", "half"))


@dataclass(frozen=True, repr=False)
class Request:
    """Everything that an analysis depends on; equal requests share one computation.

    ``begin``: whether the model's begin-of-text token is put before the prompt. ``chat``: whether the prompt is a chat,
    written as ``read_chat`` reads it, for the model's own template. ``answer`` follows the prompt. ``position``: whose
    next token is explained, of prompt and answer together; None for the last of the prompt.
    """

    prompt: str = EXAMPLES[0]
    model: str = DEFAULT_MODEL
    dtype: str = "float32"
    gated_path: Share = "up"
    attention: Share = "held"
    begin: bool = False
    chat: bool = False
    answer: str = ""
    position: int | None = None

    def __repr__(self) -> str:  # it names what is shipped: an analysis without an answer is called what it was
        said = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self)]
        return f"Request({', '.join(said[:6] + [f for f in said[6:] if f not in _UNSAID])})"

    @property
    def explained(self) -> Request:
        """What the maps are of: the same up to the explained position, which no answer behind it changes."""
        return self if self.position is not None else replace(self, answer="")

    @property
    def whole(self) -> Request:
        """The same text, whatever position is explained."""
        return replace(self, position=None)

    def by(self, convention: Convention) -> Request:
        """The same prompt by another of its exact maps."""
        return replace(self, **convention.keywords)

    @property
    def convention(self) -> Convention:
        """Which of the exact maps is wanted."""
        return Convention(self.gated_path, self.attention)


_UNSAID = ("chat=False", "answer=''", "position=None")
