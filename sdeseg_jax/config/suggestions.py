"""Suggestions for misspelt names, so that an error says what would have been right."""

import difflib
from collections.abc import Iterable


def nearest(name: str, options: Iterable[str]) -> str:
    """'; did you mean 'x'?' for the option nearest to `name`, or a list of the options where none is near, if any."""
    name, options = str(name), sorted(str(option) for option in options)
    match = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    if match:
        return f"; did you mean {match[0]!r}?"
    if not options:
        return ""
    listed = ", ".join(repr(option) for option in options[:12])
    return f"; valid: {listed}" + (", …" if len(options) > 12 else "")
