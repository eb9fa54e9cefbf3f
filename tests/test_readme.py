"""What the README promises: its example runs, its commands and pictures exist."""

from __future__ import annotations

import re
from pathlib import Path

from eqlin_core import LanguageModel

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_runs_and_prints_what_it_says(default_model_float64: LanguageModel, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "exact=True" in printed
    assert "63.9" in printed
    assert "Highway" in printed
    assert names["terms"].shape == (1, 7)  # type: ignore[attr-defined]
    assert names["heads"].shape == (1, 30, 9, 7)  # type: ignore[attr-defined]


def test_every_picture_and_every_file_it_names_is_there():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    for path in pictures:
        assert (ROOT / path).is_file(), path
    for path in re.findall(r"`((?:pages|tests|eqlin_core|\.ci)/[\w./]+\.\w+)`", README):
        assert (ROOT / path).is_file(), path


def test_its_two_commands_are_the_ones_that_run():
    commands = re.findall(r"```\n(.*?)\n```", README, re.DOTALL)
    assert commands[:2] == ["pip install -r requirements.txt && streamlit run app.py", "python tests/run.py"]
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith("python3 tests/run.py")
