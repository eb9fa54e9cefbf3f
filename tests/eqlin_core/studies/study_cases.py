"""A tiny model in a folder, which other processes can load by name, and prompts for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from tests.eqlin_core.models.model_cases import byte_level_tokenizer, tiny_llama

WORDS = ("the bridge", "café", "a bridge the", "bridge bridge", "of the café the", "b", "the the the")
PROMPTS = [f"{word} {n}" for n in range(4) for word in WORDS]
# What is not the same when it is computed again.
TIMES = ["seconds"]


def saved_model(folder: Path) -> Path:
    """A tiny Llama with a tokenizer that reads every text, in a folder."""
    tiny_llama(vocab_size=300).save_pretrained(folder)
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}:"
    tokenizer.save_pretrained(folder)
    return folder


def same_rows(one: pd.DataFrame, other: pd.DataFrame, close: float = 0.0) -> None:
    """Hold that two tables have the same rows in the same order, but for how long they took."""
    options: dict[str, Any] = {"check_exact": not close, **({"rtol": close, "atol": close} if close else {})}
    drop = [name for name in TIMES if name in one]
    pd.testing.assert_frame_equal(one.drop(columns=drop), other.drop(columns=drop), **options)
