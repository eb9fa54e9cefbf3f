"""Every architecture is examined in a process of its own; what was found is not examined again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eqlin_core.audit import every
from eqlin_core.audit.architectures import architectures
from eqlin_core.audit.every import Finding, examine, examine_all, print_all, summary
from eqlin_core.errors import EqlinError


def test_the_mapping_of_transformers_is_what_is_examined() -> None:
    names = architectures()
    assert {"llama", "mamba", "qwen3_next", "bert"} <= set(names)
    assert len(names) > 150
    assert names == sorted(set(names))


@pytest.mark.parametrize(
    ("name", "verdict", "reason"),
    [
        ("llama", "exact", ""),
        ("bert", "refused", "is an encoder"),
        ("xglm", "exact", "in float32: its own code fails in float64"),
        ("inkling2_text", "not exact", "Tanh is not linear"),
        ("gemma3n", "refused", "its code needs the package timm"),
        ("gemma4_assistant", "refused", "reads the keys and values of another model"),
        ("musicgen", "refused", "reads 4 tokens at once"),
        ("no such", "not built", "no such"),
    ],
)
def test_each_has_its_verdict_and_its_reason(name: str, verdict: str, reason: str) -> None:
    found = examine(name)
    assert (found.model_type, found.verdict) == (name, verdict)
    assert reason in found.reason
    assert (found.error is not None) == (verdict in ("exact", "not exact"))
    assert found.line.startswith(name)


@pytest.mark.slow
def test_findings_are_kept_and_one_that_takes_too_long_takes_nothing_down(tmp_path: Path) -> None:
    file = tmp_path / "all.json"
    (first,) = examine_all(["llama"], file=file, workers=1, limit=0.0)
    assert (first.verdict, first.reason) == ("failed", "it took longer than 0 seconds")
    assert [row["model_type"] for row in json.loads(file.read_text())] == ["llama"]
    file.unlink()
    found = {f.model_type: f for f in examine_all(["gpt2", "bert"], file=file, workers=1)}
    assert {name: f.verdict for name, f in found.items()} == {"gpt2": "exact", "bert": "refused"}
    again = {f.model_type: f for f in examine_all(["bert", "gpt2"], file=file, workers=1)}
    assert again == found, "what the file knows, to the second that it took"
    assert summary(found.values()) == "1 exact, 1 refused"


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("[1]")
    with pytest.raises(EqlinError, match="holds no findings"):
        list(examine_all(["llama"], file=file))


@pytest.mark.parametrize(("verdict", "code"), [("exact", 0), ("refused", 0), ("not exact", 1), ("failed", 1)])
def test_the_exit_code_says_whether_all_is_exact_or_refused(
    verdict: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Finding("llama", "exact", "", 1e-15, 0.1), Finding("x", verdict, "why", None, 0.1)]
    monkeypatch.setattr(every, "examine_all", lambda *_, **__: iter(found))
    assert print_all(None) == code
    assert capsys.readouterr().out.splitlines()[0] == "llama                      exact      1.0e-15"
