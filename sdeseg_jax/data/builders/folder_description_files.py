"""Reads the files that describe own data (see `folder.Folder`): JSON objects, and names in validation.txt."""

import pathlib
from collections.abc import Collection

from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.data.builders.frame_order import same_form
from sdeseg_jax.data.builders.scanned_clips import is_broken_link
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.storage.json_files import MAX_JSON, read_json


def read_names(path: pathlib.Path, known: Collection[str]) -> set[str]:
    """Reads validation.txt: names of clips and images, one per line; # begins a comment.

    Args:
      known: the names that there are, in the form of `frame_order.same_form`, as the result.

    Raises:
      SourceError: a name is not one of `known`, or the file is a symbolic link that leads nowhere.
    """
    if not path.exists() and not is_broken_link(path):
        return set()
    lines = (same_form(line.split("#")[0].strip()) for line in _read_text(path).splitlines())
    names = {line for line in lines if line}
    for name in sorted(names - set(known)):
        raise SourceError(f"{path}: clip or image '{name}' does not exist{nearest(name, known)}")
    return names


def _read_text(path: pathlib.Path) -> str:
    try:
        if path.stat().st_size > MAX_JSON:
            raise ValueError("it is far too large")
        return path.read_text(encoding="utf-8-sig")  # editors on Windows begin files with a byte order mark
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read ({error})") from error


def read_object(path: pathlib.Path, keys: Collection[str], example: str) -> dict:
    try:
        content = read_json(path)
    except ValueError as error:
        raise SourceError(f"{path}: {error}. It should look like this:{example}") from error
    if not isinstance(content, dict):
        raise SourceError(f"{path}: should look like this:{example}")
    check_keys(content, keys, str(path))
    return content


def check_keys(content: dict, keys: Collection[str], where: str) -> None:
    for key in content:
        if key not in keys:
            raise SourceError(f"{where}: unknown key '{key}'{nearest(key, keys)}")
