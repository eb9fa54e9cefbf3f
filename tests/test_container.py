"""The container's files: what is let into it, what it runs, and that the three of them agree."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from typer.testing import CliRunner

from eqlin_core.command.entry import app

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_what_the_package_is_built_of_is_let_in_and_no_secret() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if line and not line.startswith("#")) == "*", "everything stays outside, but for"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in let_in)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = set(re.findall(r'"([\w./-]+\.(?:py|txt|toml|md))"', project)) | {"pages", "eqlin_core", "LICENSE"}
    for name in named - {"eqlin_core/dashboard/app.py", "eqlin_core/dashboard/.streamlit/config.toml"}:
        assert any(name == own or name.startswith(f"{own}/") for own in let_in), name
    assert ".streamlit" not in let_in


def test_it_starts_a_server_that_the_command_knows_on_the_port_that_is_asked_for_its_health() -> None:
    (command,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    words = json.loads(command)
    assert words[0] == "serve"
    shown = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    assert {word for word in words if word.startswith("--") and word not in shown} == set()
    port = words[words.index("--port") + 1]
    assert f"EXPOSE {port}" in DOCKERFILE
    assert f"http://127.0.0.1:{port}/_stcore/health" in DOCKERFILE


def test_it_does_not_run_as_root() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    for stage in stages:
        users = re.findall(r"^USER (\d+)$", stage, re.MULTILINE)
        assert users[-1:] in ([], ["1000"])
    assert stages[-1].strip() == "server"


def test_the_example_of_compose_sets_what_is_read() -> None:
    (service,) = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"].values()
    read = (ROOT / "pages" / "door" / "settings.py").read_text(encoding="utf-8")
    assert [name for name in service["environment"] if f'"{name}"' not in read] == []
    assert service["ports"] == ["127.0.0.1:7860:7860"]
    assert service["volumes"] == ["models:/cache"]
