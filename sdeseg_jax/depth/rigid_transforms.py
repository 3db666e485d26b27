"""Rigid transforms of the ego-motion: axis-angle and translation to 4x4 matrices."""

import jax
import jax.numpy as jnp
from jax import Array


def axisangle_to_rotation(axisangle: Array) -> Array:
    """Converts `axisangle` [..., 3] in radians to rotation matrices [..., 3, 3] by Rodrigues' formula.

    Value and gradient are right at zero rotation, too, where the pose network starts.
    """
    squared = jnp.sum(axisangle**2, axis=-1)[..., None, None]
    small = squared < 1e-8
    safe = jnp.where(small, 1.0, squared)
    angle = jnp.sqrt(safe)
    # R = I + a [w]x + b [w]x^2 with a = sin(t)/t, b = (1 - cos(t))/t^2, near zero by their series.
    a = jnp.where(small, 1.0 - squared / 6.0, jnp.sin(angle) / angle)
    b = jnp.where(small, 0.5 - squared / 24.0, (1.0 - jnp.cos(angle)) / safe)
    x, y, z = axisangle[..., 0], axisangle[..., 1], axisangle[..., 2]
    zero = jnp.zeros_like(x)
    cross = jnp.stack(
        [jnp.stack([zero, -z, y], -1), jnp.stack([z, zero, -x], -1), jnp.stack([-y, x, zero], -1)], axis=-2
    )
    square = jnp.matmul(cross, cross, precision=jax.lax.Precision.HIGHEST)
    return jnp.eye(3, dtype=axisangle.dtype) + a * cross + b * square


def rotation_translation(rotation: Array, translation: Array) -> Array:
    """Combines rotation [..., 3, 3] and translation [..., 3] into a homogeneous transform [..., 4, 4]."""
    top = jnp.concatenate([rotation, translation[..., None]], axis=-1)
    bottom = jnp.broadcast_to(jnp.array([0, 0, 0, 1], top.dtype), top.shape[:-2] + (1, 4))
    return jnp.concatenate([top, bottom], axis=-2)


def invert_transform(transform: Array) -> Array:
    """Inverts rigid transforms [..., 4, 4] without a linear solve."""
    rotation = jnp.swapaxes(transform[..., :3, :3], -1, -2)
    translation = jnp.matmul(rotation, transform[..., :3, 3:], precision=jax.lax.Precision.HIGHEST)[..., 0]
    return rotation_translation(rotation, -translation)


def pose_to_transform(axisangle: Array, translation: Array, invert: bool = False) -> Array:
    """Converts the pose network's output to the transform target camera -> source camera (Sec. 3.1).

    Args:
      axisangle, translation: [..., 3] as predicted for a pair of frames in temporal order.
      invert: True if the source frame is the earlier one: the network predicts earlier -> later, and target ->
        previous is the inverse.

    Returns:
      [..., 4, 4].
    """
    transform = rotation_translation(axisangle_to_rotation(axisangle), translation)
    return invert_transform(transform) if invert else transform
