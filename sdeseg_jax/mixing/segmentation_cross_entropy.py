"""Segmentation cross-entropy (Eq. 13), supervised and weighted by pseudo-label quality."""

import jax
import jax.numpy as jnp
from jax import Array

from sdeseg_jax.models.resize import resize_bilinear_align_corners

VOID = 255


def pixelwise_cross_entropy(logits: Array, labels: Array, class_weights: Array | None = None) -> Array:
    """Returns the cross-entropy per pixel; 0 on void.

    Args:
      logits: [B, h, w, C]; resized bilinearly to the labels' size with corners aligned, as the release does.
      labels: int [B, H, W] in 0..C-1 or 255 (void).
      class_weights: [C]; a pixel's loss is multiplied by its class's weight.

    Returns:
      float32 [B, H, W].
    """
    logits = resize_bilinear_align_corners(logits.astype(jnp.float32), labels.shape[1:])
    valid = labels != VOID
    index = jnp.where(valid, labels, 0).astype(jnp.int32)
    # One-hot sums instead of a gather, whose gradient would be a scatter.
    one_hot = jax.nn.one_hot(index, logits.shape[-1], dtype=jnp.float32)
    loss = -jnp.sum(one_hot * jax.nn.log_softmax(logits), axis=-1)
    if class_weights is not None:
        loss = loss * jnp.matmul(one_hot, class_weights, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(valid, loss, 0.0)


def supervised_cross_entropy(
    logits: Array, labels: Array, class_weights: Array | None = None, axis_name: str | None = None
) -> Array:
    """Returns the mean cross-entropy over the annotated pixels of the global batch.

    Args:
      logits, labels, class_weights: see `pixelwise_cross_entropy`.
      axis_name: mapped axis over devices; the number of annotated pixels is averaged over it, so that the loss does
        not depend on how images with much void are spread over devices.
    """
    count = jnp.mean(labels != VOID, dtype=jnp.float32)
    if axis_name is not None:
        count = jax.lax.pmean(count, axis_name)
    return jnp.mean(pixelwise_cross_entropy(logits, labels, class_weights)) / jnp.maximum(count, 1e-12)


def weighted_cross_entropy(logits: Array, labels: Array, weights: Array) -> Array:
    """Returns the weighted cross-entropy, averaged over ALL pixels: void lowers it and does not raise the rest.

    Args:
      weights: q' per image [B], or per pixel [B, H, W].
    """
    weights = weights if weights.ndim == 3 else weights[:, None, None]
    return jnp.mean(weights * pixelwise_cross_entropy(logits, labels))


def inverse_frequency_weights(pixel_counts: Array, low: float = 0.4, high: float = 4.0) -> Array:
    """Returns square-root inverse-frequency class weights, an option for few labels and rare classes.

    Args:
      pixel_counts: annotated pixels per class, [C].
      low, high: bounds; a class without pixels gets `high`.

    Returns:
      [C], 1 for a class of mean frequency before clipping.
    """
    counts = jnp.asarray(pixel_counts, jnp.float32)
    mean = jnp.mean(counts)
    return jnp.clip(jnp.sqrt(mean / jnp.maximum(counts, 1e-6 * jnp.maximum(mean, 1.0))), low, high)
