"""ClassMix (Olsson et al. 2021), a baseline of DepthMix (Sec. 3.4): pastes half of an image's classes onto another."""

import jax
import jax.numpy as jnp
from jax import Array


def classmix_mask(key: Array, labels: Array, num_classes: int) -> Array:
    """Returns the mix mask of one image: true on a random half of the classes in it.

    Args:
      key: typed PRNG key.
      labels: int [H, W], pseudo-labels or annotations; void (255, or anything outside 0..C-1) is not a class.
      num_classes: C.

    Returns:
      bool [H, W]; of n classes, n // 2 are chosen.
    """
    one_hot = labels[..., None] == jnp.arange(num_classes)
    present = jnp.any(one_hot, axis=(0, 1))
    # Absent classes get the highest scores, so that the n // 2 lowest ones are present classes.
    scores = jnp.where(present, jax.random.uniform(key, (num_classes,)), 2.0)
    rank = jnp.argsort(jnp.argsort(scores))
    return jnp.any(one_hot & (rank < jnp.sum(present) // 2), axis=-1)
