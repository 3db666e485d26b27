"""Matching Geometry Sampling (Sec. 3.5): which source image lies nearest to a target image in its geometry."""

import numpy as np

LEFT_OUT = (80, 100)
"""Rows at the top (the sky, where disparity has artefacts) and bottom (the own car) that do not count ..."""
OF_HEIGHT = 512
"""... in images of this height; in others, their share of it."""


def counted_rows(height: int) -> slice:
    """The rows of a map of some height that count."""
    top, bottom = (round(rows * height / OF_HEIGHT) for rows in LEFT_OUT)
    return slice(top, height - bottom)


def log_disparity(disparity: np.ndarray) -> np.ndarray:
    """log(1 + d) of disparity that is normalised to [0, 1] per image: finite where the scene is farthest."""
    return np.log1p(disparity)


def geometric_difference(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """G (Eq. 22): mean absolute difference of two log-disparity maps over the rows that count.

    Args:
      target, source: `log_disparity`, [..., H, W], broadcast against each other.

    Returns:
      [...].
    """
    rows = counted_rows(target.shape[-2])
    return np.mean(np.abs(target[..., rows, :] - source[..., rows, :]), axis=(-2, -1))
