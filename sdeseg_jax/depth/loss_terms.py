"""Depth losses besides the photometric one: smoothness, feature distance, berHu."""

import jax
import jax.numpy as jnp
from jax import Array


def mean_normalize(disparity: Array) -> Array:
    """Divides [B, H, W, 1] disparity by its mean per image, so that shrinking it does not lower the smoothness loss."""
    return disparity / (jnp.mean(disparity, axis=(1, 2), keepdims=True) + 1e-7)


def edge_aware_smoothness(disparity: Array, image: Array) -> Array:
    """Returns the edge-aware smoothness (Sec. 3.1): disparity changes cost less where the image changes.

    Args:
      disparity: [B, H, W, 1].
      image: [B, H, W, C] of the same size.

    Returns:
      Scalar.
    """

    def along(axis):
        change = jnp.abs(jnp.diff(disparity, axis=axis))
        edges = jnp.mean(jnp.abs(jnp.diff(image, axis=axis)), axis=-1, keepdims=True)
        return jnp.mean(change * jnp.exp(-edges))

    return along(2) + along(1)


def feature_distance(features: Array, reference: Array, images: int, axis_name: str | None = None) -> Array:
    """Returns the distance of the trained encoder's features from those of the frozen ImageNet encoder (Eq. 6, 7).

    Keeps the encoder from forgetting ImageNet's features while it is fine-tuned on depth. The authors' release takes
    one norm over its batch of four images, and lambda_F is meant for that. Scaling the norm to a fixed number of
    images makes it independent of the batch size.

    Args:
      features: bottleneck features of the trained encoder, [B, h, w, C].
      reference: the same of the ImageNet encoder; no gradient flows into it.
      images: number of images to which the distance is scaled.
      axis_name: mapped axis over devices, all of whose images count.

    Returns:
      Scalar: the Euclidean distance between `images` feature maps [h, w, C] and their references.
    """
    difference = features.astype(jnp.float32) - jax.lax.stop_gradient(reference).astype(jnp.float32)
    squared = images * jnp.sum(difference**2) / len(difference)
    if axis_name is not None:
        squared = jax.lax.pmean(squared, axis_name)
    # sqrt has no gradient at zero.
    nonzero = squared > 0
    return jnp.where(nonzero, jnp.sqrt(jnp.where(nonzero, squared, 1.0)), 0.0)


def berhu(
    prediction: Array, target: Array, valid: Array, threshold: float = 0.2, axis_name: str | None = None
) -> Array:
    """Returns the reverse Huber loss: linear below C = threshold * max |error|, quadratic above (Sec. 3.2).

    Args:
      prediction, target: [B, H, W, 1].
      valid: 1 or 0, broadcastable to it; where it is 0 the error is 0.
      threshold: C as a share of the largest error.
      axis_name: mapped axis over devices; the largest error is that of all devices.

    Returns:
      Scalar: the mean over all pixels; masked ones count as zero, as in the release.
    """
    error = jnp.abs(prediction - target) * jnp.asarray(valid, prediction.dtype)
    largest = jax.lax.stop_gradient(jnp.max(error))
    limit = threshold * (largest if axis_name is None else jax.lax.pmax(largest, axis_name))
    safe_limit = jnp.where(limit > 0, limit, 1.0)
    return jnp.mean(jnp.where(error <= limit, error, (error**2 + limit**2) / (2 * safe_limit)))
