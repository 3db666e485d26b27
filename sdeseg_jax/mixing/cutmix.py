"""CutMix for segmentation (French et al. 2020), a baseline of DepthMix (Sec. 3.4): pastes a rectangle."""

import jax
import jax.numpy as jnp
from jax import Array


def cutmix_mask(key: Array, height: int, width: int) -> Array:
    """Returns the mix mask of one image: false in a rectangle of half its area, where its partner is pasted.

    The rectangle's aspect ratio and position are random: its width is log-uniform in [W / 2, W].

    Args:
      key: typed PRNG key.
      height, width: of the image, pixels.

    Returns:
      bool [height, width].
    """
    key_shape, key_row, key_column = jax.random.split(key, 3)
    share = jnp.exp2(-jax.random.uniform(key_shape))  # of the width, in [0.5, 1]
    box_height, box_width = jnp.round(0.5 / share * height), jnp.round(share * width)
    top = jnp.round(jax.random.uniform(key_row) * (height - box_height))
    left = jnp.round(jax.random.uniform(key_column) * (width - box_width))
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)
    inside = (rows >= top) & (rows < top + box_height) & (columns >= left) & (columns < left + box_width)
    return ~inside
