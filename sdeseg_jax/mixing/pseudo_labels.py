"""Pseudo-labels of the mean teacher and their quality (Sec. 3.4, Eq. 14-16)."""

import jax
import jax.numpy as jnp
from jax import Array

CONFIDENCE_THRESHOLD = 0.968


def pseudo_labels(logits: Array) -> tuple[Array, Array]:
    """The teacher's label and confidence per pixel.

    Args:
      logits: [..., H, W, C].

    Returns:
      Labels int32 [..., H, W] and the largest class probability P [..., H, W]; no gradient flows through either.
    """
    logits = jax.lax.stop_gradient(logits.astype(jnp.float32))
    return jnp.argmax(logits, axis=-1).astype(jnp.int32), jnp.max(jax.nn.softmax(logits), axis=-1)


def with_ground_truth(labels: Array, confidence: Array, is_labeled: Array, ground_truth: Array) -> tuple[Array, Array]:
    """Replaces pseudo-labels by annotations where a sample has them; those have P = 1 (Eq. 15).

    Args:
      labels, confidence: [B, H, W] of the teacher.
      is_labeled: bool [B].
      ground_truth: int [B, H, W]; read only where `is_labeled`.
    """
    known = is_labeled[:, None, None]
    return jnp.where(known, ground_truth, labels), jnp.where(known, 1.0, confidence)


def quality(confidence: Array, threshold: float = CONFIDENCE_THRESHOLD) -> Array:
    """Quality q' of each mixed label map (Eq. 14, 16): its share of pixels with P' above the threshold.

    Args:
      confidence: P' [..., H, W].

    Returns:
      [...], in [0, 1].
    """
    return jnp.mean(confidence > threshold, axis=(-2, -1), dtype=jnp.float32)
