"""Lets one process at a time work in a folder."""

import errno
import pathlib
from collections.abc import Callable
from contextlib import contextmanager


class InUseError(OSError):
    """Another process holds a lock.

    Attributes:
      description: of that process, as it gave it.
    """

    def __init__(self, path: pathlib.Path, description: str):
        super().__init__(errno.EWOULDBLOCK, f"in use by {description or 'another process'}", str(path))
        self.description = description


@contextmanager
def only_process(path: str | pathlib.Path, description: str = "", waits: Callable[[], None] | None = None):
    """Runs the body in one process at a time; the system releases the lock however a process ends.

    Yields whether it holds the lock: file systems without locks keep nobody out.

    Args:
      path: of the lock file, which is not deleted.
      description: of this process, for those that are kept out.
      waits: called before waiting for another process; None: raise instead of waiting.

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
