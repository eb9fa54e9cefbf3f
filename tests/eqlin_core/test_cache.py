"""Where eqlin keeps what it can make again."""

import sys
from pathlib import Path

import pytest

from eqlin_core.cache import cache_directory


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"EQLIN_CACHE": "own", "XDG_CACHE_HOME": "xdg"}, "own"),
        ("linux", {"XDG_CACHE_HOME": "xdg"}, "xdg/eqlin"),
        ("linux", {"HOME": "home"}, "home/.cache/eqlin"),
        ("darwin", {"HOME": "home", "XDG_CACHE_HOME": "xdg"}, "home/Library/Caches/eqlin"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/eqlin"),
    ],
)
def test_the_cache_lies_where_the_system_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("EQLIN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_directory() == Path(expected)
