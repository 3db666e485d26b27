"""How little a network trained on the annotated frames knows of a frame: error of the depth student, entropy."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

LOSS_BOTTOM = 0.1
"""Share of the rows, at the bottom, that the student does not learn from: the camera's own car."""

ERROR_BOTTOM = 0.13
"""Share of the rows, at the bottom, that its error leaves out."""

MIN_DISPARITY = 0.07
"""Disparity, of 0..1 per image, below which the teacher says nothing: sky, and cars that drive ahead as fast."""

NEIGHBOURHOOD = 7
"""Pixels: side of the square around each such pixel that is left out, too."""


def upper_rows(height: int, bottom: float) -> np.ndarray:
    """bool [height, 1, 1]: rows that are not in the bottom share."""
    return (np.arange(height) < int((1 - bottom) * height))[:, None, None]


def scored_pixels(teacher: Array) -> Array:
    """Which pixels count for the student's error (Sec. 3.2, masks of Eq. 3).

    Args:
      teacher: disparity [B, H, W, 1] in [0, 1].

    Returns:
      bool [B, H, W, 1]: false near pixels below `MIN_DISPARITY` and in the bottom rows.
    """
    window = (1, NEIGHBOURHOOD, NEIGHBOURHOOD, 1)
    nearby = jax.lax.reduce_window(teacher, jnp.inf, jax.lax.min, window, (1, 1, 1, 1), "SAME")
    return (nearby >= MIN_DISPARITY) & upper_rows(teacher.shape[1], ERROR_BOTTOM)


def student_error(teacher: Array, student: Array) -> Array:
    """Depth student error (Eq. 3): |log(1 + teacher) - log(1 + student)|, so that near things do not outweigh all.

    Args:
      teacher, student: disparity [B, H, W, 1] in [0, 1].

    Returns:
      float32 [B], mean over all pixels, those that do not count as zero.
    """
    error = jnp.abs(jnp.log1p(teacher) - jnp.log1p(student))
    return jnp.mean(jnp.where(scored_pixels(teacher), error, 0.0), axis=(1, 2, 3))


def prediction_entropy(logits: Array) -> Array:
    """Entropy of the predicted class distribution, in nats, mean over pixels: [B, H, W, C] -> [B]."""
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    return jnp.mean(-jnp.sum(jnp.exp(log_probabilities) * log_probabilities, axis=-1), axis=(1, 2))


def highest(scores: np.ndarray, priority: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The frames with the highest scores.

    Args:
      scores: [N]; -inf for frames that are not to be chosen.
      priority: [N], the highest decides between equals.
      count: K.

    Returns:
      int [K], highest first, and how many frames had each one's score, int [K].
    """
    order = np.lexsort((-priority, -scores))[:count]
    values, tied = np.unique(scores, return_counts=True)
    return order, tied[np.searchsorted(values, scores[order])]
