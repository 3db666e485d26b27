"""Normalisation of images, with the constants that an encoder's weights were trained with."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """Returns (images - mean) / std by channel.

    Args:
      images: [B, H, W, 3] in [0, 1], or [B, H, W, 6]: two frames, stacked on the channel axis.
      mean, std: of red, green and blue.
    """
    images, frames = jnp.asarray(images), images.shape[-1] // len(mean)
    return (images - jnp.array([*mean] * frames, images.dtype)) / jnp.array([*std] * frames, images.dtype)
