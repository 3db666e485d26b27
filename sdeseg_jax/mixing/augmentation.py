"""Photometric augmentation on the device: strong for the student's mixed images (Sec. 3.4), mild for depth (3.1)."""

import dataclasses

import dm_pix
import jax
import jax.numpy as jnp
from jax import Array


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Ranges of a colour jitter.

    Attributes:
      probability: of jittering at all.
      brightness: factor, uniform in 1 +- value.
      brightness_added, hue: added, uniform in +-value; hue in turns.
      contrast, saturation: factor, uniform in 1 +- value.
    """

    probability: float
    brightness: float
    brightness_added: float
    contrast: float
    saturation: float
    hue: float


# The authors' release uses two libraries; one adds brightness, the other multiplies by it.
STRONG = ColorJitter(0.8, brightness=0.0, brightness_added=0.25, contrast=0.25, saturation=0.25, hue=0.25)
MILD = ColorJitter(0.5, brightness=0.2, brightness_added=0.0, contrast=0.2, saturation=0.2, hue=0.1)

BLUR_PROBABILITY = 0.5
BLUR_SIGMA = (0.15, 1.15)
BLUR_KERNEL_SIZE = 7  # three standard deviations of the widest blur to either side


def color_jitter(key: Array, images: Array, jitter: ColorJitter) -> Array:
    """Applies one random colour jitter to all given images.

    Args:
      key: typed PRNG key.
      images: [..., H, W, 3] in [0, 1].

    Returns:
      Same shape, in [0, 1].
    """
    keys = jax.random.split(key, 5)

    def uniform(key, centre, spread):
        return jax.random.uniform(key, (), minval=centre - spread, maxval=centre + spread)

    # Both may use the same key: no jitter has both kinds of brightness.
    out = images * uniform(keys[0], 1.0, jitter.brightness) + uniform(keys[0], 0.0, jitter.brightness_added)
    out = dm_pix.adjust_contrast(out, uniform(keys[1], 1.0, jitter.contrast))
    out = jnp.clip(out, 0.0, 1.0)  # saturation and hue are defined for valid colours only
    out = dm_pix.adjust_saturation(out, uniform(keys[2], 1.0, jitter.saturation))
    out = dm_pix.adjust_hue(out, uniform(keys[3], 0.0, jitter.hue))
    return jnp.where(jax.random.bernoulli(keys[4], jitter.probability), jnp.clip(out, 0.0, 1.0), images)


def color_jitter_per_sample(keys: Array, images: Array, jitter: ColorJitter) -> Array:
    """Jitters every sample differently, but all frames of a sample alike.

    Args:
      keys: [B] typed PRNG keys.
      images: [F, B, H, W, 3], F frames of B samples.
    """
    return jax.vmap(lambda key, frames: color_jitter(key, frames, jitter), in_axes=(0, 1), out_axes=1)(keys, images)


def gaussian_blur(key: Array, images: Array) -> Array:
    """Blurs [B, H, W, 3] with sigma uniform in 0.15..1.15 pixels, with probability 0.5."""
    key_sigma, key_apply = jax.random.split(key)
    sigma = jax.random.uniform(key_sigma, (), minval=BLUR_SIGMA[0], maxval=BLUR_SIGMA[1])
    half = BLUR_KERNEL_SIZE // 2
    kernel = jax.nn.softmax(-0.5 * ((jnp.arange(BLUR_KERNEL_SIZE) - half) / sigma) ** 2)
    padded = jnp.pad(images, ((0, 0), (half, half), (half, half), (0, 0)), mode="reflect")
    height, width = images.shape[1:3]
    # Sums of shifted views: a 7-tap depthwise convolution is slow on CPUs.
    rows = sum(kernel[i] * padded[:, i : i + height] for i in range(BLUR_KERNEL_SIZE))
    blurred = sum(kernel[i] * rows[:, :, i : i + width] for i in range(BLUR_KERNEL_SIZE))
    return jnp.where(jax.random.bernoulli(key_apply, BLUR_PROBABILITY), blurred, images)


def strong_augmentation(key: Array, images: Array) -> Array:
    """Jitters and blurs a mixed batch [B, H, W, 3] in [0, 1], all images alike, as the release does."""
    key_jitter, key_blur = jax.random.split(key)
    return gaussian_blur(key_blur, color_jitter(key_jitter, images, STRONG))
