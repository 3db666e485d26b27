"""Recognises disk errors, whichever library reports them."""

import errno
from collections.abc import Iterator

FULL_DISK = "the disk is full"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors for a full disk, or a user's full share of it."""


def disk_problem(error: BaseException) -> str | None:
    """Returns what is wrong with the disk, in words, if that caused an error; else None.

    Libraries wrap such errors, or report them as text only; so the causes of an error are examined, too.
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


def temporary_problem(error: BaseException) -> str | None:
    """Returns why a file cannot be read now although it may be intact, if that caused an error; else None."""
    for one in _causes(error):
        text = str(one).lower()
        if getattr(one, "errno", None) not in (None, errno.ENOENT, errno.ENOTDIR):
            return getattr(one, "strerror", None) or str(one)
        if found := next((words for words in _TEMPORARY if words in text), None):
            return found
    return None


_TEMPORARY = (
    "permission denied",
    "permission_denied",
    "input/output error",
    "stale file handle",
    "too many open files",
    "timed out",
    "deadline exceeded",
    "unavailable",
    "no such device",
)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and those that caused it."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
