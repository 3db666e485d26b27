"""The mean teacher: an exponential moving average of the student's parameters (Sec. 3.4)."""

import jax
import jax.numpy as jnp
from jax import Array


def ema_decay(step: Array, decay: float = 0.99) -> Array:
    """Returns min(1 - 1 / (t + 1), decay) at step t, from 0: early on, the teacher is the mean of all students."""
    return jnp.minimum(1.0 - 1.0 / (jnp.asarray(step, jnp.float32) + 1.0), decay)


def update_teacher(teacher, student, step: Array, decay: float = 0.99):
    """Returns the teacher after one step of the moving average over two parameter trees of equal structure.

    Example:
      >>> from sdeseg_jax.mixing import update_teacher
      >>> float(update_teacher({"kernel": 1.0}, {"kernel": 2.0}, step=1000, decay=0.75)["kernel"])
      1.25
    """
    alpha = ema_decay(step, decay)
    return jax.tree.map(lambda t, s: alpha * t + (1.0 - alpha) * s, teacher, student)
