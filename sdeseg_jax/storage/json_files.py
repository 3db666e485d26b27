"""Reads JSON files that somebody else wrote."""

import json
import pathlib
from typing import Any

MAX_JSON = 256 * 2**20
"""Bytes of the largest JSON file that is read: millions of ids are fewer."""


def read_json(path: str | pathlib.Path) -> Any:
    """Reads a JSON file that somebody else wrote.

    Raises:
      ValueError: it is not there, no JSON, or too large or too deeply nested for any that was meant; says which.
    """
    path = pathlib.Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_JSON or not path.is_file():
            raise ValueError(f"is no file of JSON ({size / 2**20:.0f} MiB)")
        return json.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editors begin files with a mark
    except json.JSONDecodeError as error:
        raise ValueError(f"is no valid JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except (OSError, UnicodeError) as error:
        raise ValueError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
