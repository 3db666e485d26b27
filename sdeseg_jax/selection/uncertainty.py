"""Uncertainty of networks trained on the annotated frames: error of the depth student, entropy."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

LOSS_BOTTOM = 0.1
"""Share of the rows at the bottom from which the student does not learn: they show the ego car."""

ERROR_BOTTOM = 0.13
"""Share of the rows at the bottom that the student's error leaves out."""

MIN_DISPARITY = 0.07
"""Disparity, normalised to 0..1 per image, below which the teacher is unreliable: sky, cars ahead at equal speed."""

NEIGHBOURHOOD = 7
"""Side of the square around each such pixel that is left out as well, pixels."""


def upper_rows(height: int, bottom: float) -> np.ndarray:
    """Returns which rows lie above the bottom share; bool [height, 1, 1]."""
    return (np.arange(height) < int((1 - bottom) * height))[:, None, None]


def scored_pixels(teacher: Array) -> Array:
    """Returns which pixels count for the student's error (Sec. 3.2, masks of Eq. 3).

    Args:
      teacher: disparity [B, H, W, 1] in [0, 1].

    Returns:
      bool [B, H, W, 1]: false near pixels below `MIN_DISPARITY` and in the bottom rows.
    """
    window = (1, NEIGHBOURHOOD, NEIGHBOURHOOD, 1)
    nearby = jax.lax.reduce_window(teacher, jnp.inf, jax.lax.min, window, (1, 1, 1, 1), "SAME")
    return (nearby >= MIN_DISPARITY) & upper_rows(teacher.shape[1], ERROR_BOTTOM)


def student_error(teacher: Array, student: Array) -> Array:
    """Returns the error (Eq. 3) |log(1 + teacher) - log(1 + student)|; the log keeps near things from dominating.

    Args:
      teacher, student: disparity [B, H, W, 1] in [0, 1].

    Returns:
      float32 [B], the mean over all pixels; those that do not count are zero.
    """
    error = jnp.abs(jnp.log1p(teacher) - jnp.log1p(student))
    return jnp.mean(jnp.where(scored_pixels(teacher), error, 0.0), axis=(1, 2, 3))


def prediction_entropy(logits: Array) -> Array:
    """Returns the entropy of the predicted class distribution in nats, mean over pixels: [B, H, W, C] -> [B]."""
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    return jnp.mean(-jnp.sum(jnp.exp(log_probabilities) * log_probabilities, axis=-1), axis=(1, 2))


def highest_scores(scores: np.ndarray, priority: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the frames with the highest scores.

    Args:
      scores: [N]; -inf for frames that must not be chosen.
      priority: [N]; ties go to the highest.
      count: K.

    Returns:
      Their indices, int [K], highest first, and how many frames have the same score as each, int [K].
    """
    order = np.lexsort((-priority, -scores))[:count]
    values, tied = np.unique(scores, return_counts=True)
    return order, tied[np.searchsorted(values, scores[order])]
