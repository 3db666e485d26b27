"""Resizing of NHWC maps without gathers: forward and backward passes are copies and matrix products."""

import jax
import jax.numpy as jnp
import numpy as np


def upsample_nearest(x):
    """Doubles height and width by repeating pixels: [B, H, W, C] → [B, 2H, 2W, C], same dtype."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


def resize_bilinear(x, size: tuple[int, int]):
    """Bilinear resizing with half-pixel centres (PyTorch's `align_corners=False`, no antialiasing).

    Args:
      x: [B, H, W, C] → [B, height, width, C], same dtype.
      size: (height, width) in pixels.
    """
    if x.shape[1:3] == tuple(size):
        return x
    return jax.image.resize(x, (x.shape[0], *size, x.shape[3]), "bilinear", antialias=False)


def _align_corners_matrix(source: int, target: int) -> np.ndarray:
    """Returns interpolation weights [target, source] that keep the first and the last sample in place."""
    position = np.arange(target) * ((source - 1) / (target - 1) if target > 1 else 0.0)
    # A hat function around every source sample; rows sum to one.
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(source)[None])).astype(np.float32)


def resize_bilinear_align_corners(x, size: tuple[int, int]):
    """Bilinear resizing with aligned corners, as one matrix product per axis; arguments as `resize_bilinear`."""
    if x.shape[1:3] == tuple(size):
        return x
    rows = jnp.asarray(_align_corners_matrix(x.shape[1], size[0]), x.dtype)
    columns = jnp.asarray(_align_corners_matrix(x.shape[2], size[1]), x.dtype)
    # Highest precision: by default, TPUs and recent GPUs round float32 logits to 8 or 11 bits.
    x = jnp.einsum("yh,bhwc->bywc", rows, x, precision=jax.lax.Precision.HIGHEST)
    return jnp.einsum("xw,bywc->byxc", columns, x, precision=jax.lax.Precision.HIGHEST)
