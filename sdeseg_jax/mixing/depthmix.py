"""DepthMix (Sec. 3.4, Eq. 8-12): mixes two images such that nearer pixels occlude farther ones."""

import jax.numpy as jnp
from jax import Array


def normalize_disparity(disparity: Array) -> Array:
    """Min-max normalises [..., H, W, 1] disparity to [0, 1] per image; a constant map becomes zero.

    Self-supervised depth is known up to a scale per network, so disparities of two images, and the margin below, are
    compared in this normalised space.
    """
    low = jnp.min(disparity, axis=(-3, -2, -1), keepdims=True)
    spread = jnp.max(disparity, axis=(-3, -2, -1), keepdims=True) - low
    return (disparity - low) / jnp.where(spread > 0, spread, 1.0)


def depthmix_mask(disparity: Array, partner_disparity: Array, margin: float | Array = 0.03) -> Array:
    """Returns the mix mask M (Eq. 8): true where the image itself is visible, false where its partner occludes it.

    Args:
      disparity, partner_disparity: normalised to [0, 1], [..., H, W, 1].
      margin: the paper's epsilon: how much farther a pixel may be and still win. It settles ties on the road.

    Returns:
      bool [..., H, W].
    """
    return (disparity >= partner_disparity - margin)[..., 0]
