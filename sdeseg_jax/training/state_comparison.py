"""States as trees of named arrays: shapes, differences of two states, checksums."""

import zlib
from typing import Any

import jax
import numpy as np


def checksums(state: Any) -> dict[str, int]:
    """Returns a CRC-32 of names, types, shapes and values for each non-empty field of a state or item of a dict.

    Disks and copies can lose bits unnoticed, and a training would silently resume from wrong numbers.
    """
    found: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(jax.device_get(state))[0]:
        names, value = [_key_name(key) for key in path], np.asarray(leaf)
        header = f"{'.'.join(names)} {value.dtype} {value.shape}"
        values = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        found[names[0]] = zlib.crc32(values, zlib.crc32(header.encode(), found.get(names[0], 0)))
    return found


def shapes_of(tree: Any) -> dict[str, tuple[int, ...]]:
    """Returns {'params.encoder...kernel': shape} of a tree, with keys as in checkpoints."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {".".join(_key_name(key) for key in path): tuple(leaf.shape) for path, leaf in flat}


def _key_name(key) -> str:
    return str(next((getattr(key, name) for name in ("key", "name", "idx") if hasattr(key, name)), key))


def compare_trees(stored: dict, expected: dict, most: int = 5) -> list[str]:
    """Describes differences between two results of `shapes_of`, in at most `most` lines and the number of others."""
    lines = [f"{key}: in the checkpoint, not in the network" for key in stored if key not in expected]
    lines += [f"{key}: in the network, not in the checkpoint" for key in expected if key not in stored]
    lines += [
        f"{key}: {stored[key]} in the checkpoint, {expected[key]} in the network"
        for key in expected
        if key in stored and stored[key] != expected[key]
    ]
    lines.sort(key=lambda line: "batch_stats" in line)  # last (the sort is stable): they differ where weights do
    more = len(lines) - most
    return lines[:most] + ([f"... and {more} more"] if more > 0 else [])
