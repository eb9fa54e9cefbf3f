"""The fingerprint that tells saved runs apart: it sees every file that changes a number, in every room."""

from __future__ import annotations

from pathlib import Path

import eqlin_core as eq
from eqlin_core import version


def test_the_fingerprint_sees_every_room_but_what_draws_and_talks():
    seen = {file.relative_to(version.PACKAGE).as_posix() for file in version.engine_files(version.PACKAGE)}
    there = {file.relative_to(version.PACKAGE).as_posix() for file in version.PACKAGE.rglob("*.py")}
    assert {file.partition("/")[0] for file in there - seen} == {"figures", "reports", "command", "__main__.py"}
    assert "version.py" in seen
    assert "audit/__main__.py" in seen


def test_a_changed_file_in_a_room_changes_the_fingerprint(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(version, "PACKAGE", tmp_path)
    found = []
    files = [("a.py", "1"), ("room/b.py", "1"), ("room/b.py", "2"), ("figures/c.py", "1")]
    files += [("command/d.py", "1"), ("reports/f.py", "1"), ("dashboard/pages/e.py", "1"), ("__main__.py", "1")]
    for name, text in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        found.append(version.engine_fingerprint.__wrapped__())
    assert len(set(found[:3])) == 3
    # a chart is drawn anew from the same numbers, and a wheel, which holds the dashboard, has those of its checkout
    assert set(found[3:]) == {found[2]}


def test_the_version_stands_once():
    assert eq.__version__ == version.__version__
