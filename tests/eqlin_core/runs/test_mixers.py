"""What a model's blocks mix positions by, as its frozen modules say it."""

from __future__ import annotations

import pytest

import eqlin_core as eq
from eqlin_core.audit.architectures import tiny_architecture
from eqlin_core.freezing.treatments import treatments
from eqlin_core.runs.treatments import attends, mixer
from tests.cases import PROMPT


@pytest.mark.parametrize(
    ("model_type", "attention", "word"),
    [
        ("llama", True, "attention"),
        ("bloom", True, "attention"),
        ("mamba", False, "mixer"),
        ("rwkv", False, "mixer"),
        ("qwen3_next", True, "mixer"),
        ("lfm2", True, "mixer"),
        ("minimax", True, "mixer"),
    ],
)
def test_the_word_for_what_mixes_positions(model_type: str, attention: bool, word: str) -> None:
    for dials in (eq.Convention(), eq.Convention("half", "half")):
        rows = treatments(eq.linearize(tiny_architecture(model_type), token_ids=PROMPT, **dials.keywords).network)
        assert (attends(rows), mixer(rows)) == (attention, word), dials
