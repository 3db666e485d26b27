"""Photometric error between two views of a scene: structural similarity and absolute difference (Sec. 3.1)."""

import jax
import jax.numpy as jnp
from jax import Array

SSIM_WEIGHT = 0.85


def _sum_of_three(x: Array, axis: int) -> Array:
    """Sums each value and its two neighbours along an axis, with zeros beyond the borders."""
    window, padding = [1] * x.ndim, [(0, 0)] * x.ndim
    window[axis], padding[axis] = 3, (1, 1)
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, [1] * x.ndim, padding)


def _move_slice(x: Array, axis: int, source: int, target: int) -> Array:
    """Moves the slice `source` of an axis to index `target`, zeros elsewhere; by a mask, which fuses with the sum."""
    place = jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim + axis)
    return jnp.where(place == target % x.shape[axis], jax.lax.index_in_dim(x, source, axis), 0.0)


@jax.custom_vjp
def _mean3x3(x: Array) -> Array:
    """Applies a 3x3 box filter to [..., H, W] with reflected borders."""
    for axis in (-2, -1):
        # Reflection at a border: its inner neighbour counts twice.
        x = _sum_of_three(x, axis) + _move_slice(x, axis, 1, 0) + _move_slice(x, axis, -2, -1)
    return x / 9.0


def _mean3x3_transposed(x: Array) -> Array:
    for axis in (-1, -2):
        x = _sum_of_three(x, axis) + _move_slice(x, axis, 0, 1) + _move_slice(x, axis, -1, -2)
    return x / 9.0


# Written by hand, the backward pass is a filter, too; the one that JAX derives would sum and pad.
_mean3x3.defvjp(lambda x: (_mean3x3(x), None), lambda _, gradient: (_mean3x3_transposed(gradient),))


def _planar(image: Array) -> Array:
    """[..., H, W, C] -> [..., C, H, W]: CPUs vectorise over rows of pixels, not over three colours."""
    return jnp.moveaxis(image, -1, -3)


_C1, _C2 = 0.01**2, 0.03**2


@jax.custom_vjp
def _dssim(x: Array, y: Array) -> Array:
    """`dssim` of planar images; x has the full shape [..., H, W].

    The gradient with respect to x is written by hand: with the one that JAX derives, the photometric loss took three
    times as long on CPUs. y is data and has no gradient.
    """
    return _dssim_forward(x, y)[0]


def _ssim_factors(mean_x, mean_y, variance_x, variance_y, covariance):
    """Returns a, b, c, d of SSIM = a b / (c d): luminance (a, c), contrast and structure (b, d)."""
    luminance = 2 * mean_x * mean_y + _C1, mean_x**2 + mean_y**2 + _C1
    structure = 2 * covariance + _C2, variance_x + variance_y + _C2
    return luminance[0], structure[0], luminance[1], structure[1]


def _dssim_forward(x, y):
    mean_x, mean_y = _mean3x3(x), _mean3x3(y)
    variance_x = _mean3x3(x * x) - mean_x**2
    variance_y = _mean3x3(y * y) - mean_y**2
    covariance = _mean3x3(x * y) - mean_x * mean_y
    moments = mean_x, mean_y, variance_x, variance_y, covariance
    a, b, c, d = _ssim_factors(*moments)
    return jnp.clip((1 - a * b / (c * d)) / 2, 0, 1), (x, y, moments)


def _dssim_backward(kept, gradient):
    x, y, moments = kept
    mean_x, mean_y = moments[:2]
    a, b, c, d = _ssim_factors(*moments)
    ssim = a * b / (c * d)
    gradient = jnp.where(jnp.abs(ssim) <= 1, -gradient / 2, 0.0)  # none where the value is clipped
    of_variance = -gradient * ssim / d
    of_covariance = 2 * gradient * a / (c * d)
    of_mean = 2 * gradient * (mean_y * b / (c * d) - mean_x * ssim / c)
    # Variance and covariance depend on the mean, too.
    of_mean = of_mean - 2 * mean_x * of_variance - mean_y * of_covariance
    of_x = _mean3x3_transposed(of_mean) + 2 * x * _mean3x3_transposed(of_variance)
    return of_x + y * _mean3x3_transposed(of_covariance), jnp.zeros_like(y)


_dssim.defvjp(_dssim_forward, _dssim_backward)


def dssim(x: Array, y: Array) -> Array:
    """Returns the structural dissimilarity (1 - SSIM) / 2 over 3x3 windows, in [0, 1].

    Differentiable in x only: y is data.

    Args:
      x, y: [..., H, W, C] in [0, 1], at least two pixels high and wide, broadcastable against each other.

    Returns:
      [..., H, W, C].
    """
    x = jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, y.shape))
    return jnp.moveaxis(_dssim(_planar(x), _planar(y)), -3, -1)


def photometric_error(prediction: Array, target: Array) -> Array:
    """Returns 0.85 * DSSIM + 0.15 * |difference| per pixel, averaged over colours (Sec. 3.1).

    Differentiable in the prediction only: the target is data.

    Args:
      prediction, target: [..., H, W, C] in [0, 1], broadcastable against each other.

    Returns:
      [..., H, W].
    """
    prediction = jnp.broadcast_to(prediction, jnp.broadcast_shapes(prediction.shape, target.shape))
    prediction, target = _planar(prediction), _planar(jax.lax.stop_gradient(target))
    absolute = jnp.mean(jnp.abs(prediction - target), axis=-3)
    return SSIM_WEIGHT * jnp.mean(_dssim(prediction, target), axis=-3) + (1 - SSIM_WEIGHT) * absolute


def minimum_reprojection(
    error: Array, unwarped_error: Array | None = None, noise: Array | None = None
) -> tuple[Array, Array]:
    """Returns the per-pixel minimum over source frames, with pixels masked that do not move with the scene.

    The minimum tolerates occlusion: a pixel has to be visible in one neighbour only. Automasking leaves out pixels for
    which the unwarped neighbour already fits better: a car driving ahead, a parked camera, plain sky.

    Args:
      error: photometric error of the F source frames warped into the target, [F, ..., H, W].
      unwarped_error: of the unwarped frames, broadcastable to `error`; None for no automasking.
      noise: added to the unwarped frames' error to break ties, broadcastable to it.

    Returns:
      The error [..., H, W], and a bool map [..., H, W], true where a warped frame won (all true without automasking).
    """
    error = jnp.min(error, axis=0)
    if unwarped_error is None:
        return error, jnp.ones(error.shape, bool)
    unwarped = unwarped_error if noise is None else unwarped_error + noise
    unwarped = jnp.min(jax.lax.stop_gradient(unwarped), axis=0)
    return jnp.minimum(error, unwarped), error < unwarped
