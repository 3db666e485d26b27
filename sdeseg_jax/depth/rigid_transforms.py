"""Rigid transforms of the ego-motion: axis-angle and translation to 4x4 matrices."""

import jax
import jax.numpy as jnp
from jax import Array


def axisangle_to_rotation(axisangle: Array) -> Array:
    """Rodrigues' formula. `axisangle` [..., 3] in radians -> rotation matrices [..., 3, 3].

    The angle is guarded such that value and gradient are right at zero rotation, where the pose network starts.
    """
    squared = jnp.sum(axisangle**2, axis=-1)[..., None, None]
    small = squared < 1e-8
    safe = jnp.where(small, 1.0, squared)
    angle = jnp.sqrt(safe)
    # R = I + a [w]x + b [w]x^2 with a = sin(t)/t, b = (1 - cos(t))/t^2, by their series near zero.
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
    """Joins [..., 3, 3] and [..., 3] to a homogeneous transform [..., 4, 4]."""
    top = jnp.concatenate([rotation, translation[..., None]], axis=-1)
    bottom = jnp.broadcast_to(jnp.array([0, 0, 0, 1], top.dtype), top.shape[:-2] + (1, 4))
    return jnp.concatenate([top, bottom], axis=-2)


def invert_transform(transform: Array) -> Array:
    """Inverts rigid transforms [..., 4, 4] without a linear solve."""
    rotation = jnp.swapaxes(transform[..., :3, :3], -1, -2)
    translation = jnp.matmul(rotation, transform[..., :3, 3:], precision=jax.lax.Precision.HIGHEST)[..., 0]
    return rotation_translation(rotation, -translation)


def pose_to_transform(axisangle: Array, translation: Array, invert: bool = False) -> Array:
    """Pose network output -> the transform that takes points of the target camera to the source camera (Sec. 3.1).

    Args:
      axisangle, translation: [..., 3] as predicted for a pair of frames in temporal order.
      invert: True where the source frame is the earlier one of the pair: the network predicts earlier -> later,
        and target -> previous is the way back.

    Returns:
      [..., 4, 4].
    """
    transform = rotation_translation(axisangle_to_rotation(axisangle), translation)
    return invert_transform(transform) if invert else transform
