"""The command as a whole: its help, its statuses, and one sentence on stderr for everything that goes wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from eqlin_core import __version__
from eqlin_core.command import entry, serve
from eqlin_core.command.entry import FAILED, INTERRUPTED, main


def test_the_module_is_the_command_and_its_help_waits_for_no_torch() -> None:
    program = (
        "import runpy, sys\n"
        "sys.argv = ['eqlin', '--help']\n"
        "try: runpy.run_module('eqlin_core', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(sorted({'torch', 'transformers', 'streamlit', 'plotly'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for said in ("Usage: eqlin", "serve", "run", "audit", "Exit status"):
        assert said in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["--version"], ["run", "--help"], ["serve", "--help"], ["run", "-h"]])
def test_help_and_version_end_with_0(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    shown, warned = capsys.readouterr()
    assert warned == ""
    assert "Exit status: 0" in shown if len(arguments) == 2 else shown == f"eqlin {__version__}\n"


def test_without_a_subcommand_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == FAILED
    shown, warned = capsys.readouterr()
    assert "Usage: eqlin" in shown + warned


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fly"], "No such command 'fly'; see eqlin --help."),
        (["run"], "Missing argument 'model'; see eqlin run --help."),
        (["run", "smollm2-135m"], "Missing argument 'prompt'; see eqlin run --help."),
        (["run", "smollm2-135m", "Hi", "--loudly"], "No such option: --loudly; see eqlin run --help."),
        (["run", "smollm2-135m", "Hi", "--dtype", "int3"], "Invalid value for '--dtype': 'int3' is not one of"),
        (["run", "smollm2-135m", "Hi", "--k", "-1"], "Invalid value for '--k'"),
        (["run", "smollm2-135m", "Hi", "--save", "."], "Invalid value for '--save'"),
        (["run", "no such model", "Hi"], "There is no model or folder 'no such model': check the spelling."),
        (["run", "smollm2-135m", "Hi", "--device", "abacus"], "This machine has no device 'abacus'"),
        (["audit", "no such model"], "There is no model or folder 'no such model': check the spelling."),
        (["audit", "smollm2-135m", "--loudly"], "Unrecognized arguments: --loudly; see eqlin audit --help."),
        (["serve", "--port", "0"], "Invalid value for '--port'"),
    ],
)
def test_what_goes_wrong_ends_with_status_2_and_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(arguments)
    except SystemExit as end:  # the audit's parser ends so
        status = int(end.code or 0)
    shown, warned = capsys.readouterr()
    assert status == FAILED
    assert shown == ""
    assert warned.startswith(sentence)
    assert len(warned.splitlines()) == 1
    assert warned.endswith(".\n")


def test_an_interrupt_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(serve, "dashboard", interrupted)
    assert main(["serve"]) == INTERRUPTED
    monkeypatch.setattr(entry, "app", lambda **_: interrupted())
    assert main(["serve"]) == INTERRUPTED
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a child process there")
def test_ctrl_c_in_the_middle_of_an_analysis_leaves_no_traceback() -> None:
    # so long a prompt that it is neither before its start nor at its end when it is interrupted
    command = [sys.executable, "-m", "eqlin_core", "run", "smollm2-135m", "The bridge out of Marin is the " * 40]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell's background jobs, and what they start, ignore Ctrl-C; this one is meant to hear it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads here
    )
    try:
        time.sleep(8)
        process.send_signal(signal.SIGINT)
        shown, warned = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, shown, warned) == (INTERRUPTED, b"", b"")
