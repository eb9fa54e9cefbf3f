"""``eqlin audit`` is ``python -m eqlin_core.audit``: the same options, the same text, the same statuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from eqlin_core.audit import report
from eqlin_core.audit.families import tiny_model
from eqlin_core.command.entry import main
from eqlin_core.runs.exactness import BOUNDS


def test_it_prints_and_ends_as_the_module_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model("llama", torch.float32).model.save_pretrained(tmp_path)
    capsys.readouterr()  # transformers says that it writes
    arguments = [str(tmp_path), "--device", "cpu", "--token-ids", "3", "9", "3", "--dtype", "float32", "float64"]
    for status in (0, 1):
        assert report.main(arguments) == status
        said = capsys.readouterr()
        assert main(["audit", *arguments]) == status
        assert capsys.readouterr() == said
        assert said.out.splitlines()[-1] == ("exact", "NOT EXACT")[status]
        monkeypatch.setitem(BOUNDS, "float32", (1e-12, 1e-3))


def test_its_help_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["audit", "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: eqlin audit ")
    for said in ("--token-ids", "--dtype", "--table", "exit status is 0 only"):
        assert said in " ".join(shown.split())
