"""Pinhole camera: disparity and depth, pixels and points.

Pixel centres lie at integer coordinates: the top left pixel's centre is (0, 0), so an image of width W spans
[-0.5, W - 0.5]. Camera axes: x right, y down, z forward.
"""

import jax.numpy as jnp
from jax import Array

DIVISION_EPSILON = 1e-7
"""Added to depths before dividing by them, as the release does, to avoid a division by zero."""


def disparity_to_depth(disparity: Array, min_depth: float = 0.1, max_depth: float = 100.0) -> Array:
    """Converts the network's sigmoid output to depth (Sec. 3.1, after Monodepth2).

    Args:
      disparity: any shape, in [0, 1].
      min_depth, max_depth: depth at disparity 1 and 0. The unit is that of the pose network's translation: for
        self-supervised depth, metres up to one unknown scale.

    Returns:
      Depth, same shape.
    """
    inverse_far, inverse_near = 1.0 / max_depth, 1.0 / min_depth
    return 1.0 / (inverse_far + (inverse_near - inverse_far) * disparity)


def affine(row: Array, height: int, width: int) -> Array:
    """Returns a u + b v + c at every pixel (u, v) for (a, b, c) = row [..., 3]: [..., H, W].

    Elementwise: a matrix product of three terms would be slow, and of low precision on accelerators.
    """
    u, v = jnp.arange(width, dtype=jnp.float32), jnp.arange(height, dtype=jnp.float32)[:, None]
    a, b, c = (row[..., k, None, None] for k in range(3))
    return a * u + b * v + c


def invert_intrinsics(intrinsics: Array) -> Array:
    """Inverts [..., 3, 3] pinhole intrinsics in closed form: no factorisation, exact gradients, no host call."""
    fx, fy = intrinsics[..., 0, 0], intrinsics[..., 1, 1]
    skew, u0, v0 = intrinsics[..., 0, 1], intrinsics[..., 0, 2], intrinsics[..., 1, 2]
    zero, one = jnp.zeros_like(fx), jnp.ones_like(fx)
    rows = [
        jnp.stack([1 / fx, -skew / (fx * fy), (skew * v0 - u0 * fy) / (fx * fy)], axis=-1),
        jnp.stack([zero, 1 / fy, -v0 / fy], axis=-1),
        jnp.stack([zero, zero, one], axis=-1),
    ]
    return jnp.stack(rows, axis=-2)


def backproject(depth: Array, intrinsics: Array) -> Array:
    """Lifts every pixel to the 3-D point it shows: X = depth * K^-1 (u, v, 1).

    Args:
      depth: [..., H, W, 1], distance along the optical axis.
      intrinsics: [..., 3, 3] in pixels of this depth map.

    Returns:
      Points in camera coordinates [..., H, W, 3], in the unit of `depth`.
    """
    height, width = depth.shape[-3:-1]
    inverse = invert_intrinsics(intrinsics)
    return depth * jnp.stack([affine(inverse[..., row, :], height, width) for row in range(3)], axis=-1)


def project(points: Array, intrinsics: Array) -> Array:
    """Projects points [..., H, W, 3] with intrinsics [..., 3, 3] to pixel coordinates (u, v), [..., H, W, 2]."""
    x, y, z = (points[..., k] for k in range(3))
    u, v, w = (sum(intrinsics[..., row, k, None, None] * axis for k, axis in enumerate((x, y, z))) for row in range(3))
    return jnp.stack([u, v], axis=-1) / (w + DIVISION_EPSILON)[..., None]
