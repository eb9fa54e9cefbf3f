"""``eqlin serve``: where the dashboard is found, on which port and address it listens, what its link says."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from eqlin_core import EqlinError
from eqlin_core.command import serve
from eqlin_core.command.entry import main
from eqlin_core.version import PACKAGE


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def streamlit(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Streamlit is asked to do, which it does not."""
    from streamlit.web import cli

    asked: list[str] = []
    monkeypatch.setattr(cli, "main", lambda **_: asked.extend(sys.argv[1:]))
    monkeypatch.setattr(serve, "_announce", lambda *_: None)
    return asked


def test_in_a_checkout_it_serves_the_app_of_the_checkout() -> None:
    assert serve.dashboard() == PACKAGE.parent / "app.py"


def test_in_an_installed_package_it_serves_the_one_that_came_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "PACKAGE", tmp_path / "eqlin_core")
    with pytest.raises(EqlinError, match="has no dashboard"):
        serve.dashboard()
    for folder in (tmp_path, tmp_path / "eqlin_core" / "dashboard"):
        (folder / "pages" / "frame").mkdir(parents=True)
        (folder / "app.py").touch()
        assert serve.dashboard() == folder / "app.py"


def test_only_this_machine_is_listened_to_unless_told_otherwise(streamlit: list[str]) -> None:
    assert main(["serve"]) == 0
    assert streamlit[:2] == ["run", str(PACKAGE.parent / "app.py")]
    assert "--server.address=127.0.0.1" in streamlit
    streamlit.clear()
    assert main(["serve", "--host", "0.0.0.0"]) == 0
    assert "--server.address=0.0.0.0" in streamlit


def test_what_the_operator_sets_is_handed_to_the_dashboard(
    streamlit: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ("EQLIN_PUBLIC", "EQLIN_NAMES", "EQLIN_MODELS", "EQLIN_LONGEST_PROMPT", "EQLIN_STUDY_PROMPTS")
    for name in names:
        monkeypatch.setenv(name, "")  # so that the test leaves none behind
    assert main(["serve"]) == 0
    assert [os.environ[name] for name in names] == [""] * 5
    options = [
        "--public",
        "--name",
        "a.example",
        "--name",
        "b.example",
        "--models",
        "qwen3-0.6b",
        "--longest-prompt",
        "50",
        "--study-prompts",
        "7",
    ]
    assert main(["serve", str(tmp_path), *options]) == 0
    assert [os.environ[name] for name in names] == ["1", "a.example,b.example", f"qwen3-0.6b,{tmp_path}", "50", "7"]
    assert main(["serve", "--no-public"]) == 0
    assert os.environ["EQLIN_PUBLIC"] == "0"


def test_a_signal_to_end_ends_it_well_and_is_what_it_was_before(
    monkeypatch: pytest.MonkeyPatch, streamlit: list[str]
) -> None:
    from streamlit.web import cli

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(cli, "main", lambda **_: signal.raise_signal(signal.SIGTERM))
    assert main(["serve"]) == 0
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_port_that_is_taken_is_refused_and_by_default_passed_over(
    taken: int, streamlit: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--host", "127.0.0.1", "--port", str(taken)]) == 2
    assert capsys.readouterr().err == (f"Port {taken} of 127.0.0.1 is taken or not allowed: choose another --port.\n")
    assert streamlit == []
    monkeypatch.setattr(serve, "PORT", taken)
    assert main(["serve", "--host", "127.0.0.1"]) == 0
    (port,) = [option.partition("=")[2] for option in streamlit if option.startswith("--server.port=")]
    assert taken < int(port) <= taken + 100


def test_a_host_that_does_not_exist_is_refused(streamlit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "no such host"]) == 2
    assert capsys.readouterr().err.startswith("There is no host 'no such host' to listen on")


def test_the_link_opens_on_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert serve.url("localhost", 8501) == "http://localhost:8501"
    assert serve.url("0.0.0.0", 80) == "http://localhost:80"
    assert serve.url("::1", 80) == "http://[::1]:80"

    def model(name: str) -> Any:
        return parse_qs(urlsplit(serve.url("localhost", 8501, name)).query)["model"]

    assert model("smollm2-135m") == ["smollm2-135m"]
    assert model("Qwen/Qwen3-0.6B") == ["Qwen/Qwen3-0.6B"]
    (tmp_path / "my model & more").mkdir()
    monkeypatch.chdir(tmp_path)
    assert model("my model & more") == [str((tmp_path / "my model & more").resolve())]
