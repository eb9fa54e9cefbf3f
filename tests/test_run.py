"""The test command runs every test once."""

from __future__ import annotations

from pathlib import Path

from tests import run

ROOT = Path(__file__).resolve().parents[1]


def files(paths: list[str]) -> list[Path]:
    """The files of tests that pytest finds with these arguments."""
    ignored = {ROOT / path.removeprefix("--ignore=") for path in paths if path.startswith("--ignore=")}
    named = [ROOT / path for path in paths if not path.startswith("--")]
    found = [file for path in named for file in (path.rglob("test_*.py") if path.is_dir() else [path])]
    return [file for file in found if file not in ignored]


def test_every_file_of_tests_is_in_one_suite() -> None:
    suites = run.shares()
    found = [file for paths in suites.values() for file in files(paths)]
    assert len(suites) == 3
    assert all(file.exists() for file in found)
    assert sorted(found) == sorted((ROOT / "tests").rglob("test_*.py"))
