"""Cross-Domain DepthMix (Sec. 3.5, Eq. 17, 18) and its baselines: source images pasted onto target images."""

import jax
import jax.numpy as jnp
from jax import Array

from sdeseg_jax.mixing.classmix import classmix_mask
from sdeseg_jax.mixing.cutmix import cutmix_mask
from sdeseg_jax.mixing.depthmix import depthmix_mask
from sdeseg_jax.mixing.paste_by_mask import mix


def cross_domain_mask(
    kind: str,
    keys: Array,
    source_label: Array,
    source_disparity: Array | None,
    target_disparity: Array | None,
    classes: int,
    margin: float,
) -> Array:
    """Returns where the mix of each source image with a target image shows the source.

    Args:
      kind: "depth" (Cross-Domain DepthMix), "class" (half of the source's classes, as DACS does) or "cut".
      keys: [B] typed PRNG keys. For "depth" they decide, with even odds, whether the margin favours the source or the
        target where both are equally far, mostly on the road.
      source_label: int [B, H, W], for "class".
      source_disparity, target_disparity: for "depth", normalised to [0, 1] per image, [B, H, W, 1].
      classes: number of classes.
      margin: for "depth".

    Returns:
      bool [B, H, W].
    """
    if kind == "depth":
        favours_source = jax.vmap(jax.random.bernoulli)(keys)[:, None, None, None]
        return depthmix_mask(source_disparity, target_disparity, jnp.where(favours_source, margin, -margin))
    if kind == "class":
        return jax.vmap(lambda *args: classmix_mask(*args, classes))(keys, source_label)
    return jax.vmap(lambda key: cutmix_mask(key, *source_label.shape[1:]))(keys)


def cross_domain_mix(mask: Array, source: tuple[Array, Array], target: tuple[Array, Array, Array]):
    """Pastes source images with their labels onto target images.

    Args:
      mask: bool [B, H, W], true where the mix shows the source.
      source: image [B, H, W, 3] and label int [B, H, W] of the source.
      target: image, label and confidence P' [B, H, W] of the target; labels are annotations or pseudo-labels.

    Returns:
      Image, label and confidence of the mix. Source pixels have P = 1, even void ones: these count as certain in q',
      but have no loss.
    """
    image, label = source
    certain = jnp.ones(label.shape, target[2].dtype)
    own = (image, label.astype(target[1].dtype), certain)
    return tuple(mix(mask, one, other) for one, other in zip(own, target, strict=True))
