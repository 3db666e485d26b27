"""Matching Geometry Sampling (Sec. 3.5): how much the geometries of a source and a target image differ."""

import numpy as np

LEFT_OUT = (80, 100)
"""Rows that do not count at the top (sky, where disparity has artefacts) and bottom (ego car) of images ..."""
OF_HEIGHT = 512
"""... of this height; proportionally many in others."""


def counted_rows(height: int) -> slice:
    """Returns the rows that count in a map of this height."""
    top, bottom = (round(rows * height / OF_HEIGHT) for rows in LEFT_OUT)
    return slice(top, height - bottom)


def log_disparity(disparity: np.ndarray) -> np.ndarray:
    """Returns log(1 + d) of disparity normalised to [0, 1] per image; finite even at the farthest point."""
    return np.log1p(disparity)


def geometric_difference(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Returns G (Eq. 22): the mean absolute difference of two log-disparity maps over the rows that count.

    Args:
      target, source: from `log_disparity`, [..., H, W], broadcastable against each other.

    Returns:
      [...].

    Example:
      >>> import numpy as np
      >>> from sdeseg_jax.adaptation import geometric_difference, log_disparity
      >>> flat, tilted = np.zeros((512, 2)), np.linspace(0, 1, 512)[:, None].repeat(2, axis=1)
      >>> float(geometric_difference(log_disparity(flat), log_disparity(flat)))
      0.0
      >>> float(geometric_difference(log_disparity(flat), log_disparity(tilted)).round(2))
      0.38
    """
    rows = counted_rows(target.shape[-2])
    return np.mean(np.abs(target[..., rows, :] - source[..., rows, :]), axis=(-2, -1))
