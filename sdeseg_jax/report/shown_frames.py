"""Which frames are shown: always the same ones, from all over a split."""

import numpy as np


def _evenly(candidates: np.ndarray, count: int) -> np.ndarray:
    """`count` of the candidates at even distances, or all if there are fewer."""
    places = (np.arange(count) + 0.5) * len(candidates) / count
    return candidates[np.unique(places.astype(np.int64))]


def spread_frames(has_previous: np.ndarray, count: int, candidates: np.ndarray | None = None) -> np.ndarray:
    """The middle frames of clips that lie evenly over a split, or frames that do where there are fewer clips.

    Args:
      has_previous: bool per record, false where a clip begins.
      count: of frames.
      candidates: record indices to choose from; all if None.

    Returns:
      Record indices, `count` at most.
    """
    starts = np.flatnonzero(~has_previous)
    ends = np.append(starts[1:], len(has_previous))
    middles = (starts + ends - 1) // 2
    candidates = np.arange(len(has_previous)) if candidates is None else candidates
    middles = np.intersect1d(middles, candidates)
    return _evenly(middles if len(middles) >= count else candidates, count)


def pair_frames(pool: np.ndarray, labeled: np.ndarray, pairs: int) -> np.ndarray:
    """Frames to mix, from all over the pool: partners stand one after the other, the first frame is an annotated one.

    Args:
      pool: record indices.
      labeled: those of the pool that are annotated, one at least.
      pairs: how many.

    Returns:
      Record indices, an even number, 2 * `pairs` at most.
    """
    others = 2 * pairs - 1
    unlabeled = np.setdiff1d(pool, labeled)
    rest = unlabeled if len(unlabeled) >= others else np.setdiff1d(pool, labeled[:1])
    frames = np.append(labeled[0], _evenly(rest, others))
    return frames[: len(frames) // 2 * 2]
