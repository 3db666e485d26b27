"""Straightforward versions of warping and depth loss, the reference for the package's own.

They compute the same numbers differently: points are lifted and projected one matrix product at a time,
`map_coordinates` samples every image and channel, and SSIM's averages are reduce-windows, repeated per pair of images.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.ndimage import map_coordinates

from sdeseg_jax.depth.camera import disparity_to_depth
from sdeseg_jax.depth.loss_terms import edge_aware_smoothness, mean_normalize
from sdeseg_jax.depth.self_supervised_loss import SelfSupervisedDepthLoss, image_pyramid


def warp(source: Array, depth: Array, transform: Array, intrinsics: Array) -> Array:
    """Same interface and result as `sdeseg_jax.depth.warping.warp`."""
    return jax.vmap(_warp_one)(source, depth, transform, intrinsics)


def _warp_one(source: Array, depth: Array, transform: Array, intrinsics: Array) -> Array:
    height, width, _ = source.shape
    exact = jax.lax.Precision.HIGHEST
    v, u = jnp.mgrid[:height, :width].astype(jnp.float32)
    pixels = jnp.stack([u.ravel(), v.ravel(), jnp.ones(height * width)])  # [3, H W]
    points = depth.reshape(1, -1) * jnp.matmul(jnp.linalg.inv(intrinsics), pixels, precision=exact)
    moved = jnp.matmul(transform[:3, :3], points, precision=exact) + transform[:3, 3:]
    projected = jnp.matmul(intrinsics, moved, precision=exact)
    u, v = (projected[:2] / (projected[2] + 1e-7)).reshape(2, height, width)
    sample = lambda plane: map_coordinates(plane, [v, u], order=1, mode="nearest")  # noqa: E731
    return jax.vmap(sample, in_axes=-1, out_axes=-1)(source)


def _average(x: Array) -> Array:
    """Returns the 3x3 average of [B, H, W, C] with reflected borders."""
    padded = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
    return jax.lax.reduce_window(padded, 0.0, jax.lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "VALID") / 9


def photometric_error(x: Array, y: Array) -> Array:
    """Same as `sdeseg_jax.depth.photometric_error.photometric_error`, for [B, H, W, C]."""
    mean_x, mean_y = _average(x), _average(y)
    variance_x, variance_y = _average(x**2) - mean_x**2, _average(y**2) - mean_y**2
    covariance = _average(x * y) - mean_x * mean_y
    ssim = (2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
    ssim /= (mean_x**2 + mean_y**2 + 0.01**2) * (variance_x + variance_y + 0.03**2)
    return jnp.mean(0.85 * jnp.clip((1 - ssim) / 2, 0, 1) + 0.15 * jnp.abs(x - y), axis=-1)


def depth_loss(
    settings: SelfSupervisedDepthLoss,
    disparities,
    transforms: Array,
    target: Array,
    sources: Array,
    intrinsics: Array,
    noise: Array,
) -> Array:
    """Returns the loss of `self_supervised_depth_loss`, computed one scale and one source frame at a time."""
    batch, height, width, _ = target.shape
    per_scale = []
    for scale, (disparity, image) in enumerate(zip(disparities, image_pyramid(target, len(disparities)), strict=True)):
        full = jax.image.resize(disparity, (batch, height, width, 1), "bilinear")
        depth = disparity_to_depth(full, settings.min_depth, settings.max_depth)
        errors = []
        for source, transform, its_noise in zip(sources, transforms, noise, strict=True):
            errors.append(photometric_error(warp(source, depth, transform, intrinsics), target))
            if settings.automask:
                errors.append(photometric_error(source, target) + its_noise)
        smoothness = edge_aware_smoothness(mean_normalize(disparity), image) / 2**scale
        per_scale.append(jnp.mean(jnp.min(jnp.stack(errors), axis=0)) + settings.smoothness_weight * smoothness)
    return jnp.mean(jnp.stack(per_scale))
