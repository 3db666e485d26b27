"""Records of stages, `stage.json`: whether a stage is finished, with which settings, in which time, its metrics."""

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
"""What a record has at least, and of which types."""


def write_json(path: pathlib.Path, content) -> None:
    """Writes a JSON file that is whole whenever it exists; of several hosts the first does."""
    if is_first():
        atomic_write(path, json.dumps(content, indent=1) + "\n")


def read_record(folder: pathlib.Path) -> dict | None:
    """The record of the stage whose folder it is; None before the stage started.

    Raises:
      UserError: it is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        record = read_json(path)
        _check_record(record)
    except ValueError as error:
        raise UserError(
            f"{path} {error}. Without it nobody knows what was computed there: remove {folder} to compute it again."
        ) from error
    return record


@contextmanager
def recorded(folder: pathlib.Path, record: dict):
    """Runs the body as a stage, and records its time and, if it ends well, its result.

    Yields a dict; what the body puts in becomes the stage's metrics.

    Args:
      folder: of the stage.
      record: as it is at the start; its seconds are those of earlier, interrupted starts.
    """
    path, start, metrics = folder / FILE, time.monotonic(), {}
    write_json(path, record)

    def seconds() -> float:
        return round(record["seconds"] + time.monotonic() - start, 2)

    try:
        yield metrics
    except BaseException:
        with suppress(OSError):  # of a full disk, say: what led here says more
            write_json(path, record | {"seconds": seconds()})
        raise
    ended = {"finished": True, "metrics": metrics, "seconds": seconds(), "ended": time.time()}  # seconds since 1970
    write_json(path, record | ended)


def _check_record(record) -> None:
    """Raises ValueError if something else than a stage wrote its record."""
    if not isinstance(record, dict):
        raise ValueError("is no record of a stage: it should hold an object")
    for name, kind in RECORD.items():
        if not isinstance(record.get(name), kind):
            raise ValueError(f"is no record of a stage: '{name}' is missing or of another type")


def command_line() -> str:
    """The command that runs now, as it could be typed."""
    return shlex.join(["python", "-m", "sdeseg_jax.main", *sys.argv[1:]])


def devices() -> str:
    """Number and kind of the devices of all hosts."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"
