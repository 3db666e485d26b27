"""Which frames the report shows: always the same ones, spread over a split."""

import numpy as np


def _spread_evenly(candidates: np.ndarray, count: int) -> np.ndarray:
    """Returns `count` of the candidates at even distances, or all if there are fewer."""
    places = (np.arange(count) + 0.5) * len(candidates) / count
    return candidates[np.unique(places.astype(np.int64))]


def spread_frames(has_previous: np.ndarray, count: int, candidates: np.ndarray | None = None) -> np.ndarray:
    """Returns up to `count` record indices: the middle frames of evenly spread clips, or, if clips are few, any frames.

    Args:
      has_previous: bool per record, false where a clip begins.
      count: of frames.
      candidates: record indices to choose from; all if None.
    """
    starts = np.flatnonzero(~has_previous)
    ends = np.append(starts[1:], len(has_previous))
    candidates = np.arange(len(has_previous)) if candidates is None else candidates
    middles = np.intersect1d((starts + ends - 1) // 2, candidates)
    return _spread_evenly(middles if len(middles) >= count else candidates, count)


def pair_frames(pool: np.ndarray, labeled: np.ndarray, pairs: int) -> np.ndarray:
    """Returns up to `pairs` pairs of frames to mix, spread over the pool: record indices, partners side by side.

    Args:
      pool: record indices.
      labeled: the annotated ones among them, at least one; the first pair begins with the first of these.
      pairs: how many.
    """
    others = 2 * pairs - 1
    unlabeled = np.setdiff1d(pool, labeled)
    rest = unlabeled if len(unlabeled) >= others else np.setdiff1d(pool, labeled[:1])
    frames = np.append(labeled[0], _spread_evenly(rest, others))
    return frames[: len(frames) // 2 * 2]
