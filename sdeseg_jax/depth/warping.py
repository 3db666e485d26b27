"""View synthesis: source frames warped into the target camera (Sec. 3.1)."""

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
    sampled = _sample(jnp.moveaxis(image, -1, 0), coordinates[..., 0], coordinates[..., 1])
    return jnp.moveaxis(sampled, 0, -1)


def _sample(image: Array, u: Array, v: Array) -> Array:
    """`sample_bilinear` of [C, H, W] at maps of u and v: [C, ...]. Colours come first to make vectors long."""
    height, width = image.shape[1:]
    # Points at the image plane project to infinity or NaN; they have no gradient and sample the border.
    u = jnp.clip(jnp.nan_to_num(u), 0.0, width - 1.0)
    v = jnp.clip(jnp.nan_to_num(v), 0.0, height - 1.0)
    return _interpolate(image, u, v)


def _four_neighbours(image: Array, u: Array, v: Array):
    """Returns the weights of the right and lower neighbours [...], and the four neighbours' values [C, ...]."""
    channels, height, width = image.shape
    left = jnp.clip(jnp.floor(u), 0, max(width - 2, 0))
    top = jnp.clip(jnp.floor(v), 0, max(height - 2, 0))
    corner = (top * width + left).astype(jnp.int32)
    step_right, step_down = min(width - 1, 1), min(height - 1, 1) * width
    flat = image.reshape(channels, height * width)
    steps = (0, step_right, step_down, step_down + step_right)
    return u - left, v - top, *(flat.at[:, corner + step].get(mode="promise_in_bounds") for step in steps)


@jax.custom_vjp
def _interpolate(image: Array, u: Array, v: Array) -> Array:
    """Bilinear interpolation of [C, H, W] inside the image.

    The backward pass reads the neighbours again: storing them for it would take eight maps of C channels.
    """
    right, lower, top_left, top_right, bottom_left, bottom_right = _four_neighbours(image, u, v)
    above = top_left + right * (top_right - top_left)
    below = bottom_left + right * (bottom_right - bottom_left)
    return above + lower * (below - above)


def _interpolate_backward(kept, gradient: Array):
    image, u, v = kept
    right, lower, top_left, top_right, bottom_left, bottom_right = _four_neighbours(image, u, v)
    along_top, along_bottom = top_right - top_left, bottom_right - bottom_left
    along_u = along_top + lower * (along_bottom - along_top)
    along_v = bottom_left + right * along_bottom - (top_left + right * along_top)
    return jnp.zeros_like(image), jnp.sum(gradient * along_u, axis=0), jnp.sum(gradient * along_v, axis=0)


_interpolate.defvjp(lambda image, u, v: (_interpolate(image, u, v), (image, u, v)), _interpolate_backward)


def warp_coordinates(depth: Array, transform: Array, intrinsics: Array) -> Array:
    """Returns where the target's pixels lie in the source image.

    Args:
      depth: of the target, [..., H, W, 1].
      transform: target camera -> source camera, [..., 4, 4].
      intrinsics: of both, [..., 3, 3] in pixels.

    Returns:
      Pixel coordinates (u, v) in the source, [..., H, W, 2].
    """
    return jnp.stack(_coordinates(depth[..., 0], transform, intrinsics), axis=-1)


def _coordinates(depth: Array, transform: Array, intrinsics: Array) -> tuple[Array, Array]:
    """`warp_coordinates` of depth [..., H, W], as maps of u and v."""
    height, width = depth.shape[-2:]
    exact = jax.lax.Precision.HIGHEST  # fewer bits, the default on accelerators, are off by whole pixels
    # q = K (R X + t) = depth * (K R K^-1) p + K t: nine numbers per image instead of three products per pixel.
    rotated = jnp.matmul(intrinsics, transform[..., :3, :3], precision=exact)
    rotated = jnp.matmul(rotated, invert_intrinsics(intrinsics), precision=exact)
    shift = jnp.matmul(intrinsics, transform[..., :3, 3:], precision=exact)[..., 0]
    rays = [affine(rotated[..., row, :], height, width) for row in range(3)]
    u, v, w = (depth * ray + shift[..., row, None, None] for row, ray in enumerate(rays))
    return u / (w + DIVISION_EPSILON), v / (w + DIVISION_EPSILON)


def warp(source: Array, depth: Array, transform: Array, intrinsics: Array) -> Array:
    """Warps source frames into the target view (Eq. 1).

    Args:
      source: [B, H, W, C].
      depth: of the target, [B, H, W, 1], in the unit of the transform's translation.
      transform: target camera -> source camera, [B, 4, 4].
      intrinsics: [B, 3, 3] in pixels of `source`.

    Returns:
      The synthesised target [B, H, W, C]. Differentiable in depth, transform and intrinsics, not in `source`.

    Example:
      >>> import jax.numpy as jnp
      >>> from sdeseg_jax.depth import warp
      >>> source = jnp.arange(4.0).reshape(1, 1, 4, 1)
      >>> intrinsics = jnp.array([[[2.0, 0, 1.5], [0, 2.0, 0], [0, 0, 1]]])
      >>> sideways = jnp.eye(4)[None].at[0, 0, 3].set(5.0)  # 2 pixels * 5 m to the side / 10 m away: one pixel
      >>> warp(source, jnp.full((1, 1, 4, 1), 10.0), sideways, intrinsics)[0, 0, :, 0].tolist()
      [1.0, 2.0, 3.0, 3.0]
    """
    coordinates = _coordinates(depth[..., 0], transform, intrinsics)
    return jnp.moveaxis(jax.vmap(_sample)(jnp.moveaxis(source, -1, 1), *coordinates), 1, -1)
