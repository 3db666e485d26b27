"""Files that are whole whenever they exist, however a process ends."""

import errno
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

TEMPORARY = ".tmp"
"""Ending of the name that a file has while it is written; what a killed process leaves of these is of no use."""

FULL_DISK = "the disk is full"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, or of a user's share of it, that is full."""


def write_whole(path: str | pathlib.Path, content: str | bytes) -> None:
    """Writes a file under another name, which becomes `path` when all of it is on the disk.

    Raises:
      OSError: the disk is full or cannot be written to; then `path` is as it was.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # else a machine that loses its power may have the name, but not the content
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


MAX_JSON = 256 * 2**20
"""Bytes of the largest JSON file that is read: millions of ids are fewer."""


def read_json(path: str | pathlib.Path) -> Any:
    """Reads a JSON file that somebody else wrote.

    Raises:
      ValueError: it is not there, no JSON, or too large or too deeply nested for any that was meant; says which.
    """
    path = pathlib.Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_JSON or not path.is_file():
            raise ValueError(f"is no file of JSON ({size / 2**20:.0f} MiB)")
        return json.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editors begin files with a mark
    except json.JSONDecodeError as error:
        raise ValueError(f"is no valid JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except (OSError, UnicodeError) as error:
        raise ValueError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error


def disk_problem(error: BaseException) -> str | None:
    """What is wrong with the disk, for people, if that is why something failed; else None.

    Libraries that write for us wrap such errors, or tell of them in words: those that led to an error count, too.
    """
    for one in _causes(error):
        text, number = str(one).lower(), getattr(one, "errno", None)
        if number in _FULL or any(words in text for words in ("no space left", "quota exceeded", "file too large")):
            return FULL_DISK
        if number == errno.EROFS or "read-only file system" in text:
            return "the disk is read-only"
        if number in (errno.EACCES, errno.EPERM) or "permission denied" in text or "permission_denied" in text:
            return "permission is denied"
    return None


def passing_problem(error: BaseException) -> str | None:
    """What hinders from reading now, though the file may be whole, if that is why reading failed; else None."""
    for one in _causes(error):
        text = str(one).lower()
        if getattr(one, "errno", None) not in (None, errno.ENOENT, errno.ENOTDIR):
            return getattr(one, "strerror", None) or str(one)
        for words in _PASSING:
            if words in text:
                return words
    return None


_PASSING = (
    "permission denied", "permission_denied", "input/output error", "stale file handle", "too many open files",
    "timed out", "deadline exceeded", "unavailable", "no such device",
)  # fmt: skip


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


class InUseError(OSError):
    """Another process holds a lock.

    Attributes:
      description: what it says of itself.
    """

    def __init__(self, path: pathlib.Path, description: str):
        super().__init__(errno.EWOULDBLOCK, f"in use by {description or 'another process'}", str(path))
        self.description = description


@contextmanager
def only_process(path: str | pathlib.Path, description: str = "", waits: Callable[[], None] | None = None):
    """Runs the body in one process at a time; the system releases the lock however a process ends.

    Yields whether there is a lock: on file systems without, nobody is kept out.

    Args:
      path: of the lock, a file that stays.
      description: of this process, for those that are kept out.
      waits: called before waiting for another process; without it, that is an error.

    Raises:
      InUseError: another process holds the lock.
    """
    import fcntl  # absent on Windows

    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", errors="replace") as file:
        locked = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            locked = error.errno in (errno.EWOULDBLOCK, errno.EACCES)
            if locked:
                if waits is None:
                    file.seek(0)
                    raise InUseError(path, file.read().strip()) from error
                waits()
                fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(description)
        file.flush()
        yield locked
