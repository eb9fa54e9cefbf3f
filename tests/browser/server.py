"""The running app: Streamlit in a process of its own, as a visitor's browser meets it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "app.py"
START_SECONDS = 90.0
# What the server's environment holds unless a test says otherwise: nothing is read from, or left for, another run.
QUIET = {"PYTHONUNBUFFERED": "1", "EQLIN_SAVED_RUNS": "0", "EQLIN_KEPT_RUNS": "0"}


@dataclass(frozen=True)
class App:
    """A server that answers: where it is, and what it has logged."""

    url: str
    log_file: Path
    process: subprocess.Popen[bytes]

    def log(self, lines: int = 80) -> str:
        """The last lines of what the server wrote, and its exit code when it has ended."""
        written = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        code = self.process.poll()
        return "\n".join(written if code is None else [*written, f"The server has ended with code {code}."])


@contextmanager
def running_app(
    script: Path = SCRIPT,
    *,
    address: str | None = "127.0.0.1",
    environment: Mapping[str, str] | None = None,
    timeout: float = START_SECONDS,
) -> Iterator[App]:
    """Serve a Streamlit script on a free port until the block ends, however it ends.

    The working directory is the script's. Saved runs are off unless ``environment`` switches them on: a test that met
    one would see the engine of an earlier run. With ``address=None`` it listens where the configuration says. Raises
    RuntimeError with the server's log when it does not start.
    """
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(script)]
    for name, value in {
        "server.headless": "true",
        "server.port": str(port),
        **({} if address is None else {"server.address": address}),
        "browser.gatherUsageStats": "false",
    }.items():
        command += [f"--{name}", value]
    with tempfile.TemporaryDirectory(prefix="eqlin-app-", ignore_cleanup_errors=True) as folder:
        log_file = Path(folder) / "log.txt"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=script.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                    "EQLIN_SAVED_RUNS": "0",
                    "EQLIN_KEPT_RUNS": "0",
                    **(environment or {}),
                },
            )
            app = App(f"http://127.0.0.1:{port}", log_file, process)
            try:
                _wait_until_healthy(app, timeout)
                yield app
            finally:
                stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the process, gently first."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_healthy(app: App, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if app.process.poll() is not None:
            raise RuntimeError(f"The app ended before it answered:\n{app.log()}")
        try:
            with urllib.request.urlopen(f"{app.url}/_stcore/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"The app did not answer within {timeout:.0f} seconds:\n{app.log()}")
