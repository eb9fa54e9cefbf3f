"""Runs a program that ends with whoever started it: `python guard.py NUMBER PROGRAM ARGUMENTS`, NUMBER the parent's.

Where the system can tell a process that its parent is gone (Linux), the program takes the place of this one. Elsewhere
it runs below it, and ends when the pipe closes that the parent holds. It imports nothing of eqlin, and starts quickly.
"""

import os
import subprocess
import sys
import threading


def replaced(parent: int, command: list[str]) -> None:
    """Become the program, which the system then kills with the parent."""
    import ctypes  # noqa: PLC0415 - only where it is used
    import signal  # noqa: PLC0415

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # gone before the system knew that it should tell
        sys.exit(1)
    os.execv(command[0], command)


def watched(command: list[str]) -> int:
    """Run the program until it ends or the parent does; its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        child.kill()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    code = child.wait()
    if code < 0:  # as the parent would have seen it
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    if sys.argv[1] == "watched":
        sys.stdout.flush()
        os._exit(watched(sys.argv[2:]))
    replaced(int(sys.argv[1]), sys.argv[2:])
