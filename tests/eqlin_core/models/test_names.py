"""What a name can mean is known before anything is fetched, and is refused as loading refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from eqlin_core.errors import EqlinError
from eqlin_core.models.names import check_name
from tests.eqlin_core.models.disk_cases import weights


@pytest.mark.parametrize("name", ["smollm2-135m", "qwen3-0.6b", "Qwen/Qwen3-0.6B", "gpt2", "qwen3-0.6"])
def test_a_name_that_may_lead_somewhere_is_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("two words", "There is no model or folder 'two words': check the spelling."),
        ("qwen3 0.6b", "There is no model or folder 'qwen3 0.6b' (did you mean 'qwen3-0.6b'?): check the spelling."),
        ("/no/such/folder", "There is no model or folder '/no/such/folder': check the spelling."),
        ("nothing.gguf", "There is no file nothing.gguf: check the path."),
        ("a\0b", "There is no model or folder 'a\\x00b': check the spelling."),
    ],
)
def test_one_that_leads_nowhere_is_refused_in_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(EqlinError) as refused:
        check_name(name)
    assert str(refused.value) == sentence


def test_a_folder_needs_a_configuration_and_weights(tmp_path: Path) -> None:
    with pytest.raises(EqlinError, match="no config"):
        check_name(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EqlinError, match="has no weights"):
        check_name(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(weights(1))
    check_name(str(tmp_path))
