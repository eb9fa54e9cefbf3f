"""Files that are whole or not there: one way to write them, and one to read those that anybody may have changed.

A file is written beside its place under a name of its own, brought to the disk, and moved there in one step. A process
that was killed leaves such a file behind; the next one that writes there, or starts, removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from eqlin_core.arguments import short
from eqlin_core.errors import EqlinError

# What an unfinished file is called: the machine and the process that write it, and something that nobody else draws.
_PREFIX, _SUFFIX = ".eqlin-", ".part"
_OF_ANOTHER_MACHINE = 24 * 3600.0  # seconds after which nobody there writes on it any more
_MOST = 16 << 30  # bytes of any file that is read whole

_swept: set[str] = set()

Content = bytes | Callable[[BinaryIO], Any]


def write_file(path: Path, content: Content, what: str, *, folders: bool = False) -> None:
    """``write_whole`` for a file that somebody asked for; ``what`` is what the EqlinError calls it that is raised."""
    try:
        write_whole(path, content, folders=folders)
    except (OSError, ValueError) as error:
        if isinstance(error, EqlinError):
            raise
        reason = short(getattr(error, "strerror", None) or str(error))
        raise EqlinError(f"{what} cannot be written to {short(path.name)} ({reason}).") from error


def write_whole(path: Path, content: Content, *, folders: bool = False) -> None:
    """Write a file, whole or not at all; ``content`` is what to write, or a function that writes it.

    Only a regular file, or nothing, is written over; through a link it is the file that the link leads to. With
    ``folders`` those on the way are made. Raises OSError, and whatever ``content`` raises.
    """
    target = Path(os.path.realpath(path))
    if folders:
        target.parent.mkdir(parents=True, exist_ok=True)
    mode = _mode_of(target)
    _sweep_once(target.parent)
    unfinished = target.with_name(_part_name())
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666), "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            unfinished.chmod(mode)
        os.replace(unfinished, target)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # not every system can; the file itself is there
        sync(target.parent)


def read_file(path: Path, what: str, most: int = _MOST) -> bytes:
    """All of a regular file of at most ``most`` bytes. Raises OSError where there is none, EqlinError for another."""
    with open_file(path, what, most) as file:
        return file.read(most + 1)


def open_file(path: Path, what: str, most: int = _MOST) -> BinaryIO:
    """A regular file of at most ``most`` bytes, open for reading; a pipe would wait, and a device never end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise EqlinError(f"{what} {short(path.name)} is no file: choose one.")
    if status.st_size > most:
        raise EqlinError(f"{what} {short(path.name)} has {status.st_size:,} bytes, more than {most:,}.")
    return path.open("rb")


def sweep(folder: Path) -> None:
    """Remove what killed processes left unfinished in a folder."""
    with contextlib.suppress(OSError):
        for file in list(folder.glob(f"{_PREFIX}*{_SUFFIX}")):
            with contextlib.suppress(OSError):
                machine, _, rest = file.name.removeprefix(_PREFIX).partition("-")
                written = file.stat().st_mtime
                if machine != _machine():
                    left = time.time() - written > _OF_ANOTHER_MACHINE
                else:
                    left = is_gone(rest.partition("-")[0], written)
                if left:
                    file.unlink(missing_ok=True)


def unfinished_bytes(folder: Path) -> int:
    """How much of the disk the unfinished files in a folder take, those that are still written on among them."""
    total = 0
    for file in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            total += file.stat().st_size
    return total


def is_gone(process: str, written: float) -> bool:
    """Whether the process of this number that wrote a file at this time has ended; another may have its number now."""
    import psutil  # noqa: PLC0415 - only who writes needs it

    if not process.isdecimal():
        return True
    try:
        return bool(psutil.Process(int(process)).create_time() > written + 1)
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, OSError, OverflowError):
        return False


def sync(path: Path) -> None:
    """Return when a file, or the list of a folder's files, is on the disk."""
    if sys.platform == "win32" and path.is_dir():
        return
    # Windows flushes only what is open for writing; a folder opens only for reading.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_BINARY: int = getattr(os, "O_BINARY", 0)


def _part_name() -> str:
    return f"{_PREFIX}{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"


def _machine() -> str:
    import platform  # noqa: PLC0415

    return f"{crc32(platform.node().encode(errors='replace')):08x}"


def _mode_of(target: Path) -> int | None:
    """The permissions of the file that is written over; None where there is none yet."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        is_folder = stat.S_ISDIR(status.st_mode)
        raise OSError(errno.EISDIR if is_folder else errno.EINVAL, f"it is {'a folder' if is_folder else 'no file'}")
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return stat.S_IMODE(status.st_mode)


def _sweep_once(folder: Path) -> None:
    if str(folder) not in _swept:
        _swept.add(str(folder))
        sweep(folder)
