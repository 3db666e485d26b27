"""Which training frames count as annotated: chosen by (seed, n) or given as a file; always saved with the run."""

import json
import pathlib

import numpy as np

from sdeseg_jax.files import read_json, write_whole


def random_subset(candidates: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Chooses `count` of the candidate indices (all if 0), sorted. The subset of n is part of that of n + 1.

    Raises:
      ValueError: more labels are asked for than there are.
    """
    if count > len(candidates):
        raise ValueError(f"config.data.labels = {count}, but only {len(candidates)} training frames have a label")
    if not len(candidates):
        raise ValueError("config.data: no training frame has a label")
    return np.sort(shuffled(candidates, seed)[: count or len(candidates)])


def shuffled(candidates: np.ndarray, seed: int) -> np.ndarray:
    """The candidates in the random order that `random_subset` takes the first of."""
    return candidates[np.random.default_rng([seed, 7]).permutation(len(candidates))]


def read_ids(path: str | pathlib.Path, key: str = "config.data.labels_file") -> list[str]:
    """Reads a JSON file of ids, a list or {"ids": [...]}.

    Args:
      path: of the file.
      key: setting that names it, for messages; "" for none.

    Raises:
      ValueError: the file is missing, is no JSON, or has another form.
    """
    where = f"{key}: {path}" if key else path
    try:
        content = read_json(path)
    except ValueError as error:
        raise ValueError(f"{where} {error}") from error
    ids = content.get("ids") if isinstance(content, dict) else content
    if not isinstance(ids, list) or not ids or not all(isinstance(name, str) for name in ids):
        raise ValueError(f'{where} should hold a list of frame ids, or {{"ids": [...]}}')
    return ids


def write_ids(path: str | pathlib.Path, ids, **facts) -> None:
    """Writes {"ids": [...], ...facts} as `read_ids` takes it."""
    write_whole(path, json.dumps({**facts, "ids": list(ids)}, indent=1) + "\n")
