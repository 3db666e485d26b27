"""ClassMix (Olsson et al. 2021), a rival of DepthMix (Sec. 3.4): pastes half of an image's classes onto another."""

import jax
import jax.numpy as jnp
from jax import Array


def classmix_mask(key: Array, labels: Array, num_classes: int) -> Array:
    """The mix mask of one image: true on half of the classes that it shows, drawn at random.

    Args:
      key: typed PRNG key.
      labels: int [H, W], pseudo-labels or annotations; void (255, or anything outside 0..C-1) is no class.
      num_classes: C.

    Returns:
      bool [H, W]; of an odd number n of classes, (n - 1) / 2 are chosen.
    """
    shows = labels[..., None] == jnp.arange(num_classes)
    present = jnp.any(shows, axis=(0, 1))
    # Random scores, those of absent classes last: the first n // 2 in their order are chosen.
    scores = jnp.where(present, jax.random.uniform(key, (num_classes,)), 2.0)
    rank = jnp.argsort(jnp.argsort(scores))
    return jnp.any(shows & (rank < jnp.sum(present) // 2), axis=-1)
