"""Suggestions for misspelt names."""

import difflib
from collections.abc import Iterable


def nearest(name: str, options: Iterable[str]) -> str:
    """Returns "; did you mean 'x'?" with the closest option, or "; valid: …" if none is close; "" without options."""
    name, options = str(name), sorted(str(option) for option in options)
    match = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    if match:
        return f"; did you mean {match[0]!r}?"
    if not options:
        return ""
    listed = ", ".join(repr(option) for option in options[:12])
    return f"; valid: {listed}" + (", …" if len(options) > 12 else "")
