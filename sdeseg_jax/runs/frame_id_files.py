"""JSON files of frame ids."""

import json
import pathlib

from sdeseg_jax.storage.atomic_files import atomic_write
from sdeseg_jax.storage.json_files import read_json


def read_ids(path: str | pathlib.Path) -> list[str]:
    """Reads a JSON file of ids, a list or {"ids": [...]}.

    Raises:
      ValueError: the file is missing, is not valid JSON, or has another form; the message names it.
    """
    try:
        content = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    ids = content.get("ids") if isinstance(content, dict) else content
    if not isinstance(ids, list) or not ids or not all(isinstance(name, str) for name in ids):
        raise ValueError(f'{path} should hold a list of frame ids, or {{"ids": [...]}}')
    return ids


def write_ids(path: str | pathlib.Path, ids, **facts) -> None:
    """Writes {...facts, "ids": [...]} for `read_ids`."""
    atomic_write(path, json.dumps({**facts, "ids": list(ids)}, indent=1) + "\n")
