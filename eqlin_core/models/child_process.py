"""A program in a process of its own that reports, stalls visibly, ends with this one, and can be stopped at once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from eqlin_core.models import guard as guard_program

# A server that sends nothing for this long counts as unreachable, whatever time-out pip or the hub are configured with.
STALL_SECONDS = 60.0
POLL_SECONDS = 0.1
# Whether the system tells a process that its parent is gone.
_TOLD = sys.platform == "linux"


def run_child(
    command: list[str], log: Path, on_poll: Callable[[], float | None], environment: dict[str, str] | None = None
) -> int:
    """The exit code of `command`, run without a terminal, its output in the file `log`.

    `on_poll` is called all along and tells how far the work is (None: unknown). Raises TimeoutError when that stands
    still for STALL_SECONDS, and whatever `on_poll` raises; the process and its children are stopped first. When this
    process is killed, the program ends as well.
    """
    # The pipe is held open by this process alone, so that it closes however this process ends.
    held = subprocess.DEVNULL if _TOLD else subprocess.PIPE
    guard = [sys.executable, "-I", str(Path(guard_program.__file__)), str(os.getpid()) if _TOLD else "watched"]
    with log.open("wb") as output:
        child = subprocess.Popen(
            [*guard, *command], stdin=held, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
    try:
        seen, since = on_poll(), time.monotonic()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(POLL_SECONDS)
            asked = time.monotonic()
            done = on_poll()
            since += time.monotonic() - asked  # in there the caller may wait for others
            if done is None or done != seen:
                seen, since = done, time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS:
                raise TimeoutError(f"Nothing arrived for {STALL_SECONDS:.0f} s.")
    finally:
        if child.poll() is None:
            _stop(child)
        if child.stdin is not None:
            child.stdin.close()


def _stop(child: subprocess.Popen[bytes]) -> None:
    unfinished: list[Path] = []
    with contextlib.suppress(psutil.Error):
        files = psutil.Process(child.pid).open_files()
        unfinished = [Path(file.path) for file in files if file.path.endswith(".incomplete")]
    with contextlib.suppress(psutil.Error):
        guard = psutil.Process(child.pid)
        guard.suspend()  # else it might start the program between the listing and its own end
        for member in guard.children(recursive=True):
            member.kill()
    child.kill()
    child.wait()
    for path in unfinished:  # the hub's downloads have names of their own each time, so none is ever resumed
        path.unlink(missing_ok=True)
