"""Files are written whole or not at all, onto files alone, and what a killed process left goes away."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from eqlin_core import disk
from eqlin_core.disk import read_file, sweep, unfinished_bytes, write_file, write_whole
from eqlin_core.errors import EqlinError

# Writes half a file and waits to be killed.
HALF = """
import sys, time
from pathlib import Path
from eqlin_core.disk import write_file
def half(file):
    file.write(b"half" * 1000)
    file.flush()
    print("half", flush=True)
    time.sleep(60)
write_file(Path(sys.argv[1]), half, "The file")
"""
# Writes a file that is larger than the system allows.
LIMITED = """
import resource, signal, sys
from pathlib import Path
from eqlin_core.disk import write_file
from eqlin_core.errors import EqlinError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_file(Path(sys.argv[1]), bytes(5000), "The file")
except EqlinError as error:
    print(error)
"""
# Writes one file again and again.
MANY = """
import sys
from pathlib import Path
from eqlin_core.disk import write_file
for i in range(30):
    write_file(Path(sys.argv[1]), bytes([int(sys.argv[2])]) * (1000 + i), "The file")
"""


def full(file: BinaryIO) -> None:
    file.write(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def killed_writer(target: Path) -> None:
    """A process is killed while it writes the file."""
    with subprocess.Popen([sys.executable, "-c", HALF, str(target)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        sweep(target.parent)
        assert unfinished_bytes(target.parent) == 4000, "its process is still writing"
        os.kill(process.pid, signal.SIGKILL)


def test_a_file_is_written_and_an_older_one_is_written_over(tmp_path: Path) -> None:
    for content in (b"first", b"second", b""):
        write_file(tmp_path / "file", content, "The file")
        assert (tmp_path / "file").read_bytes() == content
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


def test_the_permissions_of_an_older_file_stay_and_a_new_one_has_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    write_file(tmp_path / "file", b"", "The file")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode
    (tmp_path / "file").chmod(0o640)
    write_file(tmp_path / "file", b"again", "The file")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_through_a_link_the_file_that_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for content in (b"new", b"over"):
        write_file(tmp_path / "link", content, "The file")
        assert (tmp_path / "file").read_bytes() == content
        assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_neither_written_over_nor_read(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    if kind == "folder":
        target.mkdir()
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        target = Path("/dev/null")
    with pytest.raises(EqlinError, match=r"^The file cannot be written to \w+ \(it is (a folder|no file)\)\.$"):
        write_file(target, b"content", "The file")
    with pytest.raises(EqlinError, match=r"^The file \w+ is no file: choose one\.$"):
        read_file(target, "The file")
    assert list(tmp_path.iterdir()) == ([] if kind == "device" else [target])


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"old", "The file")
    with pytest.raises(EqlinError, match=r"The file cannot be written to file \(No space left on device\)"):
        write_file(tmp_path / "file", full, "The file")
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "file", full)
    assert [(f.name, f.read_bytes()) for f in tmp_path.iterdir()] == [("file", b"old")]


def test_a_limit_of_the_system_on_files_is_a_sentence_too(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path / "file"], capture_output=True, text=True, check=False
    )
    assert ended.stdout == "The file cannot be written to file (File too large).\n"
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_whoever_writes_leaves_nothing(tmp_path: Path) -> None:
    def broken(file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file", broken, "The file")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_counted_and_then_swept(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"old", "The file")
    killed_writer(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert unfinished_bytes(tmp_path) == 4000
    sweep(tmp_path)
    assert unfinished_bytes(tmp_path) == 0
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


def test_the_first_write_of_a_process_into_a_folder_sweeps_it(tmp_path: Path) -> None:
    killed_writer(tmp_path / "file")
    write_file(tmp_path / "other", b"", "The file")
    assert [f.name for f in tmp_path.iterdir()] == ["other"]


def test_another_machines_file_goes_when_it_is_a_day_old(tmp_path: Path) -> None:
    theirs = tmp_path / f".eqlin-00000000-{os.getpid()}-aaaaaaaa.part"
    theirs.write_bytes(b"half")
    sweep(tmp_path)
    assert theirs.exists()
    yesterday = time.time() - 25 * 3600
    os.utime(theirs, (yesterday, yesterday))
    sweep(tmp_path)
    assert not theirs.exists()


def test_a_number_that_another_process_has_by_now_keeps_no_file(tmp_path: Path) -> None:
    assert not disk.is_gone(str(os.getpid()), time.time())
    assert disk.is_gone(str(os.getpid()), 1000.0), "this process is younger than the file"
    assert disk.is_gone("4194999", time.time())
    assert disk.is_gone("no number", time.time())


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)  # sparse: it takes no room
    with pytest.raises(EqlinError, match="has 1,099,511,627,776 bytes, more than"):
        read_file(tmp_path / "huge", "The file")


def test_two_processes_that_write_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MANY, str(tmp_path / "file")]
    writers = [subprocess.Popen([*command, str(n)]) for n in (1, 2)]
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "file").exists():
            seen = (tmp_path / "file").read_bytes()
            assert len(seen) >= 1000
            assert len(set(seen)) == 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


def test_a_folder_or_file_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o444)
    if os.access(tmp_path / "file", os.W_OK):
        pytest.skip("the administrator may write everywhere")
    with pytest.raises(EqlinError, match="Permission denied"):
        write_file(tmp_path / "file", b"new", "The file")
    tmp_path.chmod(0o555)
    with pytest.raises(EqlinError, match="Permission denied"):
        write_file(tmp_path / "other", b"new", "The file")
    tmp_path.chmod(0o755)
    assert [f.read_bytes() for f in tmp_path.iterdir()] == [b"old"]
