"""Records of stages, `stage.json`: whether a stage is finished, its settings, time and metrics."""

import json
import pathlib
import shlex
import sys
import time
from contextlib import contextmanager, suppress

import jax

from sdeseg_jax.config import UserError
from sdeseg_jax.storage.atomic_files import atomic_write
from sdeseg_jax.storage.json_files import read_json
from sdeseg_jax.training.multi_host import is_first

FILE = "stage.json"

RECORD = {"config": dict, "finished": bool, "seconds": (int, float), "metrics": dict}
"""Keys that every record has, and their types."""


def write_json(path: pathlib.Path, content) -> None:
    """Writes a JSON file atomically, on the first host."""
    if is_first():
        atomic_write(path, json.dumps(content, indent=1) + "\n")


def read_record(folder: pathlib.Path) -> dict | None:
    """Returns the record in a stage's folder; None before the stage started.

    Raises:
      UserError: the record is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        record = read_json(path)
        _check_record(record)
    except ValueError as error:
        raise UserError(
            f"{path} {error}. It says what was computed in its folder: remove {folder} to compute that again."
        ) from error
    return record


@contextmanager
def recorded(folder: pathlib.Path, record: dict):
    """Runs the body as a stage, and records its time and, on success, its metrics.

    Yields a dict, which the body fills with metrics.

    Args:
      folder: of the stage.
      record: at the start; its seconds are those of earlier, interrupted starts.
    """
    path, start, metrics = folder / FILE, time.monotonic(), {}
    write_json(path, record)

    def seconds() -> float:
        return round(record["seconds"] + time.monotonic() - start, 2)

    try:
        yield metrics
    except BaseException:
        with suppress(OSError):  # of a full disk, say: the error that led here says more
            write_json(path, record | {"seconds": seconds()})
        raise
    ended = {"finished": True, "metrics": metrics, "seconds": seconds(), "ended": time.time()}  # seconds since 1970
    write_json(path, record | ended)


def _check_record(record) -> None:
    """Raises ValueError if a record cannot have been written by a stage."""
    if not isinstance(record, dict):
        raise ValueError("is not a stage's record: it should hold an object")
    for name, kind in RECORD.items():
        if not isinstance(record.get(name), kind):
            raise ValueError(f"is not a stage's record: '{name}' is missing or has another type")


def command_line() -> str:
    """Returns the running command as one would type it."""
    return shlex.join(["python", "-m", "sdeseg_jax.main", *sys.argv[1:]])


def devices() -> str:
    """Returns number and kind of the devices of all hosts."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"
