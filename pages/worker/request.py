"""What a visitor asked for: a model, its precision, the convention and a prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Request:
    """Everything that an analysis depends on; equal requests share one computation.

    ``begin``: whether the model's begin-of-text token is put before the prompt.
    """

    prompt: str = EXAMPLES[0]
    model: str = DEFAULT_MODEL
    dtype: str = "float32"
    gated_path: Share = "up"
    attention: Share = "held"
    begin: bool = False

    def by(self, convention: Convention) -> Request:
        """The same prompt by another of its exact maps."""
        return replace(self, **convention.keywords)

    @property
    def convention(self) -> Convention:
        """Which of the exact maps is wanted."""
        return Convention(self.gated_path, self.attention)
