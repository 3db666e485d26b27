"""Farthest point sampling on all local devices: how well annotated frames cover the feature space."""

import functools

import jax
import numpy as np

from sdeseg_jax.selection.farthest_point import Picks, farthest_points, update_nearest
from sdeseg_jax.training.replication import AXIS, replicate_rows, shard_rows


@functools.cache
def _update():
    return replicate_rows(lambda rows, chosen: (update_nearest(*rows, chosen, AXIS), ()))


@functools.cache
def _choose(count: int):
    def function(rows, _):
        picks, nearest = farthest_points(*rows, count, AXIS)
        return nearest, picks

    return replicate_rows(function)


class Coverage:
    """The frames' features, spread over the devices, and the distance of each frame to the nearest annotated one."""

    def __init__(self, features: np.ndarray, priority: np.ndarray, candidates: np.ndarray):
        """Starts without any annotated frame.

        Args:
          features: [N, D] of any floating point type; may be a memory-mapped file.
          priority: int [N], not negative, all different: breaks ties.
          candidates: bool [N], false for frames that must not be chosen.
        """
        self._count = len(features)
        # With float16 a pick takes 2.7 times as long on CPUs, where memory is no concern.
        self._features = shard_rows(features, dtype=np.float32 if jax.default_backend() == "cpu" else features.dtype)
        self._priority = shard_rows(priority.astype(np.int32), -1)
        self._nearest = shard_rows(np.where(candidates, np.inf, -np.inf).astype(np.float32), -np.inf)

    def annotate(self, chosen: np.ndarray) -> None:
        """Marks frames, by position, as annotated."""
        if len(chosen):
            rows = (self._features, self._nearest)
            self._nearest, _ = _update()(rows, np.asarray(chosen, np.int32))

    def choose(self, count: int, term: np.ndarray | None = None) -> Picks:
        """Chooses and annotates the next `count` frames; see `farthest_points`.

        Args:
          count: at most the number of remaining candidates.
          term: [N], added to the distance; None for zeros.

        Returns:
          Picks as NumPy arrays.
        """
        term = np.zeros(self._count) if term is None else term
        rows = (self._features, self._nearest, shard_rows(np.asarray(term, np.float32)), self._priority)
        self._nearest, picks = _choose(count)(rows, ())
        return jax.tree.map(np.asarray, picks)

    @property
    def nearest(self) -> np.ndarray:
        """Distance of each frame to the nearest annotated one, [N]; -inf for annotated frames and non-candidates."""
        return np.asarray(self._nearest).reshape(-1)[: self._count]
