"""Pseudo-labels of the mean teacher and their quality (Sec. 3.4, Eq. 14-16)."""

import jax
import jax.numpy as jnp
from jax import Array

CONFIDENCE_THRESHOLD = 0.968


def pseudo_labels(logits: Array) -> tuple[Array, Array]:
    """Returns the teacher's labels, int32 [..., H, W], and confidences P [..., H, W] from logits [..., H, W, C].

    P is the largest class probability. No gradient flows through either.
    """
    logits = jax.lax.stop_gradient(logits.astype(jnp.float32))
    return jnp.argmax(logits, axis=-1).astype(jnp.int32), jnp.max(jax.nn.softmax(logits), axis=-1)


def with_ground_truth(labels: Array, confidence: Array, is_labeled: Array, ground_truth: Array) -> tuple[Array, Array]:
    """Replaces pseudo-labels by annotations, with P = 1, where a sample has them (Eq. 15).

    Args:
      labels, confidence: [B, H, W] of the teacher.
      is_labeled: bool [B].
      ground_truth: int [B, H, W]; read only where `is_labeled`.
    """
    known = is_labeled[:, None, None]
    return jnp.where(known, ground_truth, labels), jnp.where(known, 1.0, confidence)


def quality(confidence: Array, threshold: float = CONFIDENCE_THRESHOLD) -> Array:
    """Returns the quality q' [...] of mixed labels (Eq. 14, 16): the share of P' [..., H, W] above the threshold."""
    return jnp.mean(confidence > threshold, axis=(-2, -1), dtype=jnp.float32)
