"""Finding a Chromium for the browser tests, and installing one where there is none."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.browser import chromium


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The installing commands that were run, on a machine of root's with apt, where none of them helps."""
    asked: list[str] = []

    def note(*command: str) -> bool:
        asked.append(" ".join(command[-2:]))
        return True

    monkeypatch.delenv("EQLIN_CHROMIUM", raising=False)
    monkeypatch.setattr(chromium, "starts", lambda: None)
    monkeypatch.setattr(chromium, "ran", note)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    return asked


def test_a_chosen_chromium_is_the_only_one_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQLIN_CHROMIUM", "/mine/chrome")
    assert list(chromium.candidates()) == ["/mine/chrome"]


def test_one_on_the_path_is_tried_before_playwrights_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EQLIN_CHROMIUM", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/chromium" if name == "chromium" else None)
    assert list(chromium.candidates()) == ["/bin/chromium", None]


def test_nothing_is_installed_where_one_starts(commands: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chromium, "starts", lambda: "150.0")
    assert chromium.main() == 0
    assert commands == []


def test_every_way_is_tried_and_then_the_sentence_says_what_to_do(
    commands: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert chromium.main() == 1
    assert commands == ["install chromium", "install-deps chromium", "update -qq", "-qq chromium"]
    assert "install Chromium or Google Chrome" in capsys.readouterr().out


def test_without_root_only_playwright_is_asked(commands: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert chromium.main() == 1
    assert commands == ["install chromium"]


def test_where_the_download_is_out_of_reach_the_systems_own_is_installed(
    commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def only_apt(*command: str) -> bool:
        seen.append(command[0])
        return command[0] == "apt-get"

    monkeypatch.setattr(chromium, "ran", only_apt)
    monkeypatch.setattr(chromium, "starts", lambda: "150.0" if seen.count("apt-get") == 2 else None)
    assert chromium.main() == 0


def test_a_wrong_choice_is_told_and_not_mended(commands: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQLIN_CHROMIUM", "/nowhere/chrome")
    assert chromium.main() == 1
    assert commands == []
