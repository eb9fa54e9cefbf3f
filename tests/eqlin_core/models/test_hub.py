"""A model of the hub is downloaded once, whole and cancellable; or one sentence says what to do."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load, save

from eqlin_core.errors import Cancelled, EqlinError
from eqlin_core.models.hub import HUB_SECONDS
from eqlin_core.models.loading import fetch_model, load_model
from eqlin_core.models.presets import PRESETS
from tests.eqlin_core.models.model_cases import refusal, tiny_llama

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_ID = "someone/tiny-llama"


@dataclass
class Hub:
    """What a hub on this machine answers: one repository, whose weights come in two halves with a gate between."""

    files: dict[str, bytes]
    error: str = ""
    gated_files: bool = False
    total: int | None = None

    def __post_init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.requests.append(f"{self.command} {self.path}")
                path = self.path.split("?")[0]
                if hub.error or (hub.gated_files and "/resolve/" in path):
                    self.answer(403 if hub.gated_files else 404, {"X-Error-Code": hub.error or "GatedRepo"}, b"{}")
                elif path.startswith("/api/") and "/tree/" in path:
                    rows = [{"type": "file", "path": f, "size": len(b), "oid": f} for f, b in hub.files.items()]
                    self.answer(200, {"Content-Type": "application/json"}, json.dumps(rows).encode())
                elif path.startswith("/api/"):
                    self.answer(200, {"Content-Type": "application/json"}, hub.info())
                else:
                    file = path.rsplit("/", 1)[1]
                    self.answer(200, {"X-Repo-Commit": COMMIT, "ETag": f'"{file}"'}, hub.files[file])

            do_HEAD = do_GET

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "HEAD":
                    return
                with suppress(ConnectionError):
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                    if self.path.endswith(".safetensors"):
                        hub.gate.wait(60)
                    self.wfile.write(body[len(body) // 2 :])

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def info(self) -> bytes:
        siblings = [{"rfilename": file, "size": len(body)} for file, body in self.files.items()]
        info: dict[str, Any] = {"id": HUB_ID, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "likes": 0}
        info |= {"siblings": siblings, "config": {}}
        if self.total:
            info["safetensors"] = {"parameters": {"F32": self.total}, "total": self.total}
        return json.dumps(info).encode()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    hub = Hub({path.name: path.read_bytes() for path in folder.iterdir()})
    shutil.rmtree(folder)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", "none")
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield hub
    hub.close()


def add_padding(hub: Hub) -> None:
    """Weights that arrive in several of the pieces of 10 MB that the hub's client writes at a time."""
    weights = load(hub.files["model.safetensors"]) | {"padding": torch.zeros(10_000_000)}
    hub.files["model.safetensors"] = save(weights, {"format": "pt"})


def hub_files(tmp_path: Path) -> list[str]:
    """Everything that was downloaded or begun."""
    return sorted(path.name for path in (tmp_path / "hub").rglob("blobs/*"))


def test_a_hub_model_is_downloaded_once_with_progress(hub: Hub) -> None:
    add_padding(hub)
    hub.gate.clear()
    seen: list[float] = []

    def watch(fraction: float | None, message: str) -> None:
        if "Downloading" in message and fraction is not None:
            seen.append(fraction)
            if 0.2 < fraction < 0.9:
                hub.gate.set()

    lm = load_model(HUB_ID, progress=watch)
    assert lm.revision == COMMIT
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(lm.model(ids).logits, tiny_llama()(ids).logits)
    assert any(0.2 < fraction < 0.9 for fraction in seen)
    hub.requests.clear()
    assert load_model(HUB_ID).revision == COMMIT
    assert len(hub.requests) == 1


def test_a_downloaded_model_loads_without_a_network(hub: Hub) -> None:
    load_model(HUB_ID)
    hub.close()
    lm = load_model(HUB_ID)
    assert lm.revision == COMMIT
    assert load_model(HUB_ID, revision=COMMIT).revision == COMMIT
    assert "cannot be reached" in refusal(HUB_ID, revision="other")


def test_only_what_is_needed_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    extra = (
        "pytorch_model.bin",
        "consolidated.safetensors",
        "model-00001-of-00002.safetensors",
        "modeling_own.py",
        "README.md",
        "picture.png",
    )
    hub.files |= dict.fromkeys(extra, b"not wanted")
    load_model(HUB_ID)
    assert hub_files(tmp_path) == ["config.json", "generation_config.json", "model.safetensors"]


def cancel(fraction: float | None, message: str) -> None:
    """A progress that cancels as soon as a fifth is there."""
    if fraction is not None and fraction > 0.2:
        raise Cancelled


def test_a_cancelled_download_stops_and_leaves_nothing_unfinished(hub: Hub, tmp_path: Path) -> None:
    add_padding(hub)
    hub.gate.clear()

    with pytest.raises(Cancelled):
        load_model(HUB_ID, progress=cancel)
    assert not [name for name in hub_files(tmp_path) if name.endswith(".incomplete")]
    assert not [child for child in psutil.Process().children() if "snapshot_download" in " ".join(child.cmdline())]
    hub.gate.set()
    assert load_model(HUB_ID).revision == COMMIT


def test_a_hub_model_too_big_for_the_memory_is_not_downloaded(hub: Hub, tmp_path: Path) -> None:
    hub.total = 10**15
    assert "takes 4.2e+06 GB in float32" in refusal(HUB_ID)
    assert hub_files(tmp_path) == []


def test_a_model_can_be_fetched_without_fitting_or_being_loaded(hub: Hub, tmp_path: Path) -> None:
    hub.total = 10**15
    fetch_model(HUB_ID)
    assert "model.safetensors" in hub_files(tmp_path)
    hub.close()
    fetch_model(HUB_ID)  # it is here: no network is needed


def test_a_fetch_that_was_cancelled_goes_on_with_the_files_that_are_missing(hub: Hub, tmp_path: Path) -> None:
    add_padding(hub)
    hub.gate.clear()

    with pytest.raises(Cancelled):
        fetch_model(HUB_ID, cancel)
    arrived = hub_files(tmp_path)
    assert "config.json" in arrived
    hub.gate.set()
    hub.requests.clear()
    fetch_model(HUB_ID)
    got = {request.rpartition("/")[2] for request in hub.requests if request.startswith("GET") and "resolve" in request}
    assert got == {"model.safetensors"}


def test_a_fetch_without_a_network_ends_in_a_sentence_and_loses_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.gate.clear()
    with pytest.raises(Cancelled):
        fetch_model(HUB_ID, lambda fraction, _message: fraction is None or fraction < 0.01)
    hub.gate.set()
    arrived = hub_files(tmp_path)
    hub.close()
    with pytest.raises(EqlinError, match="cannot be reached"):
        fetch_model(HUB_ID)
    assert hub_files(tmp_path) == arrived


def test_there_is_nothing_to_fetch_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(EqlinError, match="there is nothing to fetch"):
        fetch_model(str(tmp_path))


def test_a_hub_model_too_big_for_the_disk_is_not_downloaded(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    assert "disk is too full" in refusal(HUB_ID)
    assert hub_files(tmp_path) == []


def test_an_unknown_hub_model(hub: Hub) -> None:
    hub.error = "RepoNotFound"
    assert "shows no model 'someone/tiny-llama'" in refusal(HUB_ID)
    assert "did you mean 'qwen3-0.6b'?" in refusal("qwen3-0.6")


def test_an_unknown_revision(hub: Hub) -> None:
    hub.error = "RevisionNotFound"
    assert "has no revision 'v9'" in refusal(HUB_ID, revision="v9")


def test_a_gated_model_says_how_to_get_in(hub: Hub) -> None:
    hub.gated_files = True
    assert "accept its terms" in refusal(HUB_ID)
    hub.error = "GatedRepo"
    assert "accept its terms" in refusal(HUB_ID)


@pytest.mark.parametrize(
    ("removed", "sentence"), [("config.json", "no config.json"), ("model.safetensors", "no safetensors weights")]
)
def test_a_repository_that_is_no_model(hub: Hub, removed: str, sentence: str) -> None:
    del hub.files[removed]
    assert sentence in refusal(HUB_ID)


def test_without_a_network_an_unknown_model_is_answered_within_seconds(hub: Hub) -> None:
    hub.close()
    start = time.monotonic()
    assert "cannot be reached" in refusal(HUB_ID)
    assert "did you mean 'smollm2-135m'?" in refusal("smolm2-135m")
    assert time.monotonic() - start < 30


def test_a_hub_that_never_answers_is_given_up_in_time(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    assert HUB_SECONDS < 30
    monkeypatch.setattr("eqlin_core.models.hub.HUB_SECONDS", 1.0)
    monkeypatch.setattr(HfApi, "model_info", lambda *_arguments, **_options: time.sleep(60))
    start = time.monotonic()
    assert "cannot be reached" in refusal(HUB_ID)
    assert time.monotonic() - start < 20


def test_asking_the_hub_can_be_cancelled(hub: Hub) -> None:
    def cancel(fraction: float | None, message: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        load_model(HUB_ID, progress=cancel)


@pytest.mark.parametrize(
    "name", ["no/such/folder", "./nothing", "two words", " ", "a\\b", "~nobody/model", "a\0b", "word " * 1000]
)
def test_a_name_that_can_be_no_hub_model_is_refused_at_once(hub: Hub, name: str) -> None:
    assert "check the spelling" in refusal(name)
    assert hub.requests == []


def test_presets_name_hub_models(hub: Hub) -> None:
    hub.error = "RepoNotFound"
    for name, preset in PRESETS.items():
        assert preset.hub_id in refusal(name)
