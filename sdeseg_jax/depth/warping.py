"""View synthesis: the source frame as seen from the target camera (Sec. 3.1)."""

import jax
import jax.numpy as jnp
from jax import Array

from sdeseg_jax.depth.camera import DIVISION_EPSILON, affine, invert_intrinsics


def sample_bilinear(image: Array, coordinates: Array) -> Array:
    """Samples an image at pixel coordinates, clamped to the border (as PyTorch's `grid_sample` with `border`).

    Differentiable in `coordinates` only: the image is data, and a gradient into it would be a scatter.

    Args:
      image: [H, W, C].
      coordinates: (u, v) in pixels, [..., 2]; pixel centres at integers.

    Returns:
      [..., C].
    """
    height, width, channels = image.shape
    u, v = coordinates[..., 0], coordinates[..., 1]
    # Points at the image plane project to infinity or NaN; they have no gradient and sample the border.
    u = jnp.clip(jnp.nan_to_num(u), 0.0, width - 1.0)
    v = jnp.clip(jnp.nan_to_num(v), 0.0, height - 1.0)
    left = jnp.clip(jnp.floor(jax.lax.stop_gradient(u)), 0, max(width - 2, 0))
    top = jnp.clip(jnp.floor(jax.lax.stop_gradient(v)), 0, max(height - 2, 0))
    right_weight, bottom_weight = (u - left)[..., None], (v - top)[..., None]

    corner = (top * width + left).astype(jnp.int32)
    step_right, step_down = min(width - 1, 1), min(height - 1, 1) * width
    flat = jax.lax.stop_gradient(image).reshape(height * width, channels)
    top_left, top_right = flat[corner], flat[corner + step_right]
    bottom_left, bottom_right = flat[corner + step_down], flat[corner + step_down + step_right]

    upper = top_left + right_weight * (top_right - top_left)
    lower = bottom_left + right_weight * (bottom_right - bottom_left)
    return upper + bottom_weight * (lower - upper)


def warp_coordinates(depth: Array, transform: Array, intrinsics: Array) -> Array:
    """Where the target's pixels lie in the source image.

    Args:
      depth: of the target, [..., H, W, 1].
      transform: target camera -> source camera, [..., 4, 4].
      intrinsics: of both, [..., 3, 3] in pixels.

    Returns:
      Pixel coordinates (u, v) in the source, [..., H, W, 2].
    """
    height, width = depth.shape[-3:-1]
    depth = depth[..., 0]
    exact = jax.lax.Precision.HIGHEST  # accelerators would otherwise multiply in fewer bits: whole pixels are lost
    # q = K (R X + t) = depth * (K R K^-1) p + K t: nine numbers per image instead of three products per pixel.
    rotated = jnp.matmul(jnp.matmul(intrinsics, transform[..., :3, :3], precision=exact),
                         invert_intrinsics(intrinsics), precision=exact)  # fmt: skip
    shift = jnp.matmul(intrinsics, transform[..., :3, 3:], precision=exact)[..., 0]
    rays = [affine(rotated[..., row, :], height, width) for row in range(3)]
    u, v, w = (depth * ray + shift[..., row, None, None] for row, ray in enumerate(rays))
    return jnp.stack([u, v], axis=-1) / (w + DIVISION_EPSILON)[..., None]


def warp(source: Array, depth: Array, transform: Array, intrinsics: Array) -> Array:
    """Warps source frames into the target view (Eq. 1).

    Args:
      source: [B, H, W, C].
      depth: of the target, [B, H, W, 1], in the unit of the transform's translation.
      transform: target camera -> source camera, [B, 4, 4].
      intrinsics: [B, 3, 3] in pixels of `source`.

    Returns:
      The synthesised target [B, H, W, C]. Differentiable in depth, transform and intrinsics, not in `source`.
    """
    return jax.vmap(sample_bilinear)(source, warp_coordinates(depth, transform, intrinsics))
