"""Files that are complete whenever they exist, however a process ends."""

import os
import pathlib

TEMPORARY = ".tmp"
"""Suffix of a file's name while it is written; a killed process may leave such a file, which can be deleted."""


def atomic_write(path: str | pathlib.Path, content: str | bytes) -> None:
    """Writes a file under a temporary name, and renames it to `path` when all of it is on the disk.

    Raises:
      OSError: the disk is full or cannot be written to; `path` is unchanged then.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # otherwise, a power loss may leave the name without the content
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
