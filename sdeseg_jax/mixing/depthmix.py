"""DepthMix (Sec. 3.4, Eq. 8-12): mixes two images such that nearer pixels occlude farther ones."""

import jax.numpy as jnp
from flax import struct
from jax import Array

from sdeseg_jax.mixing.paste_by_mask import mix, next_sample


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


@struct.dataclass
class DepthMixed:
    """A batch that was mixed with itself.

    Attributes:
      image: [B, H, W, C].
      label: [B, H, W].
      mask: bool [B, H, W], true where the image itself is visible, false where its partner, the next one, is.
    """

    image: Array
    label: Array
    mask: Array


def depthmix(
    images: Array, labels: Array, disparities: Array, margin: float = 0.03, axis_name: str | None = None
) -> DepthMixed:
    """Mixes every image of a batch, and its label, with the next one, such that nearer pixels occlude farther ones.

    Args:
      images: [B, H, W, C] of any type; B at least 2.
      labels: [B, H, W] of any type; pseudo-labels where there are no annotations.
      disparities: [B, H, W] or [B, H, W, 1], larger is nearer, of any scale: each is normalised to [0, 1].
      margin: see `depthmix_mask`.
      axis_name: mapped axis over devices, to mix across a batch that is spread over them; see `next_sample`.

    Raises:
      ValueError: shapes that do not go together, or a single image.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from sdeseg_jax.mixing import depthmix
      >>> images = jnp.stack([jnp.full((1, 4, 3), 10), jnp.full((1, 4, 3), 20)])
      >>> disparities = jnp.array([[[1.0, 0.2, 0.8, 0.0]], [[0.0, 0.5, 0.3, 1.0]]])
      >>> mixed = jax.jit(depthmix)(images, jnp.zeros((2, 1, 4), int), disparities)
      >>> mixed.image[0, 0, :, 0].tolist()
      [10, 20, 10, 20]
    """
    images, labels, disparities = jnp.asarray(images), jnp.asarray(labels), jnp.asarray(disparities)
    if disparities.ndim == 3:
        disparities = disparities[..., None]
    if images.ndim != 4 or labels.shape != images.shape[:3] or disparities.shape != (*images.shape[:3], 1):
        shapes = f"images {images.shape}, labels {labels.shape}, disparities {disparities.shape}"
        raise ValueError(f"expected [B, H, W, C], [B, H, W] and [B, H, W, 1], not {shapes}")
    if len(images) < 2 and axis_name is None:
        raise ValueError("mixing needs at least two images: the partner of each is the next one of the batch")
    normalised = normalize_disparity(disparities.astype(jnp.float32))
    mask = depthmix_mask(normalised, next_sample(normalised, axis_name), margin)
    image, label = (mix(mask, own, next_sample(own, axis_name)) for own in (images, labels))
    return DepthMixed(image, label, mask)
