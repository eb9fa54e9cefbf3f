"""The settings of an operator, read from the environment as a server reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pages.door.settings import Settings, settings

Serve = Callable[..., Settings]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Sets the variables EQLIN_..., given in small letters, and gives the settings that everything sees then."""

    def set_up(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(f"EQLIN_{name.upper()}", value)
        settings.cache_clear()
        return settings()

    for name in ("PUBLIC", "NAMES", "MODELS", "FRAMES", "PASSWORD", "LONGEST_PROMPT", "STUDY_PROMPTS"):
        monkeypatch.delenv(f"EQLIN_{name}", raising=False)
    yield set_up
    monkeypatch.undo()
    settings.cache_clear()
