"""Draws annotated frames at random, by the seed."""

import numpy as np


def random_subset(candidates: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Returns a random subset of the candidates, sorted. The subset of n is part of that of n + 1.

    Args:
      count: size of the subset, at most that of `candidates`; 0 for all.
    """
    return np.sort(shuffled(candidates, seed)[: count or len(candidates)])


def shuffled(candidates: np.ndarray, seed: int) -> np.ndarray:
    """Returns the candidates in random order; `random_subset` takes the first ones."""
    return candidates[np.random.default_rng([seed, 7]).permutation(len(candidates))]
