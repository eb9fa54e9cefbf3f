"""``eqlin study``: tables that read back, a summary that says what is in them, and one sentence for what goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import eqlin_core as eq
from eqlin_core.command.entry import main
from tests.eqlin_core.studies.study_cases import PROMPTS, saved_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model in a folder."""
    return str(saved_model(tmp_path_factory.mktemp("tiny") / "tiny"))


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    """A file with a prompt a line."""
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    return str(tmp_path / "prompts.txt")


def test_it_says_its_plan_measures_and_prints_what_it_found(
    model: str, prompts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    command = ["study", prompts, "--out", str(tmp_path / "s"), "--model", model, "--k", "2"]
    command += ["--measure", "exactness,contributions,spectra,layers,heads"]
    assert main([*command, "--first", "6"]) == 0
    shown, said = capsys.readouterr()
    assert "6 prompts of " in said
    flat = " ".join(shown.split())
    assert "6 of 6" in flat
    assert "stable rank, median" in flat
    assert "by block, through the final norm" in flat
    assert "6 rows of prompts in s; eq.load_study reads them" in flat
    study = eq.load_study(tmp_path / "s")
    assert study.info["prompts"] == "prompts.txt"
    ranks = study.tokens.groupby("position")["stable_rank"].median()
    assert f" {ranks[0]:.3g} " in flat
    assert main(command) == 0
    assert f"{len(PROMPTS) - 6} prompts of" in capsys.readouterr().err, "the others alone"
    assert len(eq.load_study(tmp_path / "s").prompts) == len(PROMPTS)


def test_a_dry_run_says_what_it_takes_and_leaves_nothing(
    model: str, prompts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", prompts, "--out", str(tmp_path / "s"), "--model", model, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert f"{len(PROMPTS)} prompts of" in shown
    assert "on the disk" in shown
    assert not (tmp_path / "s").exists()


def test_what_fails_is_printed_and_is_the_status(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.jsonl").write_text('{"token_ids": [5, 6], "key": "good"}\n{"token_ids": [999999], "key": "bad"}')
    status = main(["study", str(tmp_path / "p.jsonl"), "--out", str(tmp_path / "s"), "--model", model])
    shown = capsys.readouterr().out
    assert status == 1
    assert "bad: " in shown
    assert "999999" in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.txt"], "nowhere.txt cannot be read"),
        (["marin-100", "--measure", "heights"], "A measure is 'exactness'"),
        (["marin-100", "--measure", "steering", "--strengths", "a,b"], "The strengths 'a,b' are no numbers"),
        (["marin-100", "--model", "no-such-model-anywhere"], "no-such-model-anywhere"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", *arguments, "--out", str(tmp_path / "s")]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert said.count("\n") == 0


def test_without_ray_it_says_how_to_get_it(
    model: str, prompts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    status = main(["study", prompts, "--out", str(tmp_path / "s"), "--model", model, "--ray", "local"])
    assert status == 2
    assert "Ray is not installed: pip install eqlin[study]" in capsys.readouterr().err


def test_a_help_text_waits_for_no_torch() -> None:
    program = "import sys; from eqlin_core.command.entry import main; main(['study', '--help'])"
    program += "; assert 'torch' not in sys.modules"
    environment = {**os.environ, "COLUMNS": "100"}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "marin-100" in ran.stdout
