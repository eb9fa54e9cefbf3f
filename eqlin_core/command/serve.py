"""``eqlin serve``: the dashboard, as it lies in the installed package or in a checkout."""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from eqlin_core.errors import EqlinError
from eqlin_core.models import bundled
from eqlin_core.version import PACKAGE

PORT = 8501
_TRIED = 100
_START_SECONDS = 120.0
_ANYWHERE = ("0.0.0.0", "::", "")


def serve(
    model: Annotated[
        str | None,
        typer.Argument(help="The model that the address opens: a name, a hub id, a folder or a .gguf file."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen. Others reach the dashboard only if this is changed, as to 0.0.0.0.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help=f"Default: {PORT}, or the next one that is free.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="A name that it answers to, as lab.example.org; again for another. Its own need no mention."),
    ] = None,
    public: Annotated[
        bool | None,
        typer.Option(
            "--public/--no-public",
            help="Refuse what strangers have no business with. Default: on where other machines reach the dashboard.",
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            help="In public mode: a model, or a folder of models, that visitors may choose; again for another. "
            "Default: the presets that lie on this machine."
        ),
    ] = None,
    longest_prompt: Annotated[
        int | None, typer.Option(min=1, help="In public mode: the characters that a prompt may have. Default: 1000.")
    ] = None,
    study_prompts: Annotated[
        int | None,
        typer.Option(min=1, help="In public mode: the prompts that a study or a lens may read. Default: 25."),
    ] = None,
    browser: Annotated[
        bool | None, typer.Option("--browser/--no-browser", help="Default: open one where a person is watching.")
    ] = None,
) -> int:
    """Show the dashboard in the browser.

    Exit status: 0 stopped (by Ctrl-C, or a signal to end), 2 it could not be started.
    """
    script = dashboard()
    settings = {
        "EQLIN_NAMES": ",".join(name or ()),
        "EQLIN_PUBLIC": "" if public is None else str(int(public)),
        "EQLIN_MODELS": ",".join([*(models or ()), *([_spelled(model)] if model else ())]),
        "EQLIN_LONGEST_PROMPT": str(longest_prompt or ""),
        "EQLIN_STUDY_PROMPTS": str(study_prompts or ""),
    }
    os.environ.update({variable: value for variable, value in settings.items() if value})
    port = _free_port(host, port)
    address = url(host, port, model)
    opens = _someone_watches() if browser is None else browser
    threading.Thread(target=_announce, args=(address, url(host, port), opens), daemon=True).start()
    options = {
        "server.address": host,
        "server.port": port,
        # where it is stands in the line of _announce, with the model in it
        "logger.hideWelcomeMessage": "true",
        "logger.level": "warning",
    }
    _run_streamlit("run", str(script), *(f"--{name}={value}" for name, value in options.items()))
    return 0


def _run_streamlit(*arguments: str) -> None:
    """What ``python -m streamlit`` does with these, in this process; the engine itself imports no Streamlit."""
    before, sys.argv = sys.argv, ["streamlit", *arguments]
    # The server raises the signal that ended it once more when it has closed, for whoever stands here.
    kept = {ending: signal.signal(ending, _wanted_until_now) for ending in (signal.SIGINT, signal.SIGTERM)}
    try:
        runpy.run_module("streamlit", run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise EqlinError("Streamlit could not start the dashboard: see what it printed above.") from ended
    finally:
        for ending, handler in kept.items():
            signal.signal(ending, handler)
        sys.argv = before


def _wanted_until_now(*_: object) -> None:
    raise SystemExit(0)


def dashboard() -> Path:
    """The script that Streamlit runs. Raises EqlinError where neither the package nor its folder has one."""
    for folder in (PACKAGE / "dashboard", PACKAGE.parent):
        if (folder / "app.py").is_file() and (folder / "pages" / "frame").is_dir():
            return folder / "app.py"
    raise EqlinError("This eqlin has no dashboard: install the package eqlin, or run it from a checkout.")


def url(host: str, port: int, model: str | None = None) -> str:
    """Where a browser on this machine finds the dashboard, and on which model it opens there."""
    seen = "localhost" if host in _ANYWHERE else f"[{host}]" if ":" in host else host
    if model is None:
        return f"http://{seen}:{port}"
    return f"http://{seen}:{port}/?{urlencode({'model': _spelled(model)})}"


def _spelled(model: str) -> str:
    """The model's name as an address has it: a link that is kept should not depend on the server's own folder."""
    place = Path(model).expanduser()
    # what load_model takes for a folder or a file
    local = model != bundled.NAME and (place.is_dir() or place.suffix == ".gguf")
    return str(place.resolve()) if local else model


def _free_port(host: str, port: int | None) -> int:
    if port is not None:
        if not _is_free(host, port):
            raise EqlinError(f"Port {port} of {host} is taken or not allowed: choose another --port.")
        return port
    free = next((tried for tried in range(PORT, PORT + _TRIED) if _is_free(host, tried)), None)
    if free is None:
        raise EqlinError(f"All ports of {host} from {PORT} to {PORT + _TRIED - 1} are taken: choose one with --port.")
    return free


def _is_free(host: str, port: int) -> bool:
    try:
        places = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise EqlinError(f"There is no host {host!r} to listen on: leave --host out, or give 0.0.0.0.") from error
    family, kind, protocol, _, place = places[0]
    with socket.socket(family, kind, protocol) as listener:
        if os.name == "posix":  # a port that was closed a moment ago is free
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place)
        except OSError:
            return False
    return True


def _announce(address: str, server: str, opens: bool) -> None:
    """Say where the dashboard is once it answers, and open a browser there."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{server}/_stcore/health", timeout=5):
                break
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    else:
        return
    print(f"eqlin is at {address} (Ctrl-C ends it)", flush=True)
    if opens:
        webbrowser.open(address)


def _someone_watches() -> bool:
    """Whether a browser would open before somebody's eyes, and not inside a terminal."""
    display = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.stdout.isatty() and bool(display)
