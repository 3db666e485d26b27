"""Files that are whole whenever they exist, however a process ends."""

import os
import pathlib

TEMPORARY = ".tmp"
"""Ending of the name that a file has while it is written; what a killed process leaves of these is of no use."""


def atomic_write(path: str | pathlib.Path, content: str | bytes) -> None:
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
