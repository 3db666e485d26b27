"""Photometric error between two views of a scene: structural similarity and absolute difference (Sec. 3.1)."""

import jax
import jax.numpy as jnp
from jax import Array

SSIM_WEIGHT = 0.85


def _mean3x3(x: Array) -> Array:
    """3x3 box filter of [..., H, W] with reflected borders, as two separable sums of shifted views."""
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1), (1, 1)], mode="reflect")
    x = x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]
    return (x[..., :-2] + x[..., 1:-1] + x[..., 2:]) / 9.0


def _planar(image: Array) -> Array:
    """[..., H, W, C] -> [..., C, H, W]: rows of pixels, not of three colours, are what a CPU's vectors can hold."""
    return jnp.moveaxis(image, -1, -3)


def _dssim(x: Array, y: Array) -> Array:
    """`dssim` of planar images [..., H, W]."""
    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = _mean3x3(x), _mean3x3(y)
    variance_x = _mean3x3(x * x) - mean_x**2
    variance_y = _mean3x3(y * y) - mean_y**2
    covariance = _mean3x3(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return jnp.clip((1 - numerator / denominator) / 2, 0, 1)


def dssim(x: Array, y: Array) -> Array:
    """Structural dissimilarity (1 - SSIM) / 2 over 3x3 windows, in [0, 1].

    Args:
      x, y: [..., H, W, C] in [0, 1], broadcastable against each other.

    Returns:
      [..., H, W, C].
    """
    return jnp.moveaxis(_dssim(_planar(x), _planar(y)), -3, -1)


def photometric_error(prediction: Array, target: Array) -> Array:
    """Per pixel error 0.85 * DSSIM + 0.15 * |difference|, averaged over colours (Sec. 3.1).

    Args:
      prediction, target: [..., H, W, C] in [0, 1], broadcastable against each other.

    Returns:
      [..., H, W].
    """
    prediction, target = _planar(prediction), _planar(target)
    absolute = jnp.mean(jnp.abs(prediction - target), axis=-3)
    return SSIM_WEIGHT * jnp.mean(_dssim(prediction, target), axis=-3) + (1 - SSIM_WEIGHT) * absolute


def minimum_reprojection(
    warped: Array, sources: Array, target: Array, automask: bool, noise: Array | None = None
) -> tuple[Array, Array]:
    """Per-pixel minimum over the source frames, with pixels masked that do not move with the scene.

    The minimum forgives occlusion (a pixel need be seen in one neighbour only). Automasking leaves out pixels for
    which the unwarped neighbour already fits better: a car driving ahead, a parked camera, plain sky.

    Args:
      warped: [F, ..., H, W, C], source frames warped into the target, F of them.
      sources: [F, ..., H, W, C], the same frames unwarped; broadcastable against `warped`.
      target: [..., H, W, C].
      automask: whether the unwarped frames compete.
      noise: added to the unwarped frames' error to break ties, broadcastable to [F, ..., H, W].

    Returns:
      The error [..., H, W], and a bool map [..., H, W], true where a warped frame won (all true if not `automask`).
    """
    error = jnp.min(photometric_error(warped, target), axis=0)
    if not automask:
        return error, jnp.ones(error.shape, bool)
    identity = jax.lax.stop_gradient(photometric_error(sources, target))
    if noise is not None:
        identity = identity + noise
    identity = jnp.min(identity, axis=0)
    return jnp.minimum(error, identity), error < identity
