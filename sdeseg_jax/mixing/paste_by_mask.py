"""Composing two images by any mask (Eq. 9-11)."""

import jax
import jax.numpy as jnp
from jax import Array


def mix(mask: Array, own: Array, partner: Array) -> Array:
    """Composes M * own + (1 - M) * partner (Eq. 9-11) for images [..., H, W, C] or maps [..., H, W] of any type."""
    return jnp.where(mask if own.ndim == mask.ndim else mask[..., None], own, partner)


def next_sample(x: Array, axis_name: str | None = None) -> Array:
    """Returns the mixing partner of every sample: for sample i, sample (i + 1) mod B of the global batch.

    Args:
      x: [b, ...], this device's part of the batch.
      axis_name: mapped axis over devices; the last sample's partner is the first of the next device, so that mixing
        does not depend on the number of devices and works with one image per device.

    Returns:
      [b, ...].
    """
    first = x[:1]
    if axis_name is not None:
        devices = jax.lax.axis_size(axis_name)
        first = jax.lax.ppermute(first, axis_name, [(d, (d - 1) % devices) for d in range(devices)])
    return jnp.concatenate([x[1:], first])
