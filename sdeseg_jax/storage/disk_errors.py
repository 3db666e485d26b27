"""Recognises errors of the disk, whatever library reports them."""

import errno
from collections.abc import Iterator

FULL_DISK = "the disk is full"


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, or of a user's share of it, that is full."""


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
