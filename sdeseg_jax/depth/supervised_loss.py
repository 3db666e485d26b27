"""Supervised depth loss, the alternative to self-supervision in the paper's Table 9."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from sdeseg_jax.depth.camera import disparity_to_depth


def supervised_depth_loss(
    disparities: Sequence[Array],
    depth: Array,
    min_depth: float = 0.1,
    max_depth: float = 100.0,
    axis_name: str | None = None,
) -> Array:
    """Returns the mean |log d - log d*| over pixels with known depth, averaged over scales.

    The logarithm weights near and far alike, as the metrics do. Every scale is resized to full resolution, as in the
    self-supervised loss. Where depth is never known, as in the sky, predictions are arbitrary: networks trained on
    Streets predict the nearest depth there, and DepthMix believes them (RESULTS.md).

    Args:
      disparities: sigmoid outputs, entry s of shape [B, H / 2^s, W / 2^s, 1].
      depth: d* in metres, [B, H, W, 1]; pixels count if finite and in (0, max_depth]: stereo has holes.
      min_depth, max_depth: depth at disparity 1 and 0, metres.
      axis_name: mapped axis over devices; the number of known pixels is averaged over it, so that the loss does not
        depend on how images with many holes are spread over devices.

    Returns:
      Scalar; 0 where no depth is known.
    """
    valid = jnp.isfinite(depth) & (depth > 0) & (depth <= max_depth)
    truth = jnp.log(jnp.where(valid, depth, 1.0))
    known = jnp.mean(valid, dtype=jnp.float32)
    if axis_name is not None:
        known = jax.lax.pmean(known, axis_name)

    def at_scale(disparity: Array) -> Array:
        full = jax.image.resize(disparity, depth.shape, "bilinear")
        error = jnp.abs(jnp.log(disparity_to_depth(full, min_depth, max_depth)) - truth)
        return jnp.mean(jnp.where(valid, error, 0.0))

    return sum(map(at_scale, disparities)) / (len(disparities) * jnp.maximum(known, 1e-12))
