"""A tiny model in a folder."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from tests.eqlin_core.models.model_cases import tiny_llama  # and with it torch, which the figures' tests do without

    tiny_llama().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"
