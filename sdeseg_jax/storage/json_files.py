"""Reads JSON files that somebody else wrote."""

import json
import pathlib
import re
from typing import Any

MAX_JSON = 256 * 2**20
"""Largest JSON file that is read, in bytes. Millions of ids fit."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(path: str | pathlib.Path) -> Any:
    """Returns the content of a JSON file that somebody else wrote.

    Raises:
      ValueError: the file is missing, is not valid JSON, or is far too large or too deeply nested; says which.
    """
    path = pathlib.Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_JSON or not path.is_file():
            raise ValueError(f"is not a JSON file ({size / 2**20:.0f} MiB)")
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows begin files with a byte order mark
        content = json.loads(text)
        if _SURROGATE.search(text):  # half a character cannot be printed, nor be a file's name
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except (OSError, UnicodeError) as error:
        raise ValueError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
