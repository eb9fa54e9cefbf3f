"""What a visitor asked for: a model, its precision, the convention and a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from eqlin_core.runs.convention import Convention, Share

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


@dataclass(frozen=True)
class Request:
    """Everything that an analysis depends on; equal requests share one computation."""

    prompt: str = EXAMPLES[0]
    model: str = DEFAULT_MODEL
    dtype: str = "float32"
    gated_path: Share = "up"
    attention: Share = "held"

    @property
    def convention(self) -> Convention:
        """Which of the exact maps is wanted."""
        return Convention(self.gated_path, self.attention)
