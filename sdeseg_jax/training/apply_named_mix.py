"""Mixed batches for the student: pairs of target images (Sec. 3.4), and source images on target images (Sec. 3.5)."""

import jax
import jax.numpy as jnp
from flax import struct

from sdeseg_jax.adaptation.cross_domain_depthmix import cross_domain_mask, cross_domain_mix
from sdeseg_jax.mixing.classmix import classmix_mask
from sdeseg_jax.mixing.cutmix import cutmix_mask
from sdeseg_jax.mixing.depthmix import depthmix_mask
from sdeseg_jax.mixing.paste_by_mask import mix, next_sample
from sdeseg_jax.mixing.pseudo_labels import pseudo_labels, with_ground_truth
from sdeseg_jax.models.resize import resize_bilinear_align_corners
from sdeseg_jax.training.replication import AXIS
from sdeseg_jax.training.train_step import sample_keys


@struct.dataclass
class MixedBatch:
    """A batch mixed from pairs of images.

    Attributes:
      image: [B, H, W, 3], before strong augmentation.
      label: int [B, H, W].
      confidence: P' [B, H, W] (Eq. 16).
      mask: bool [B, H, W], true where the image itself (across domains, the source) is visible, else its partner.
    """

    image: jax.Array
    label: jax.Array
    confidence: jax.Array
    mask: jax.Array


def label_pool(pool: dict, teacher_logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns labels and confidence of a pool batch: the teacher's, or annotations with confidence 1 (Eq. 15).

    Args:
      pool: with `image`, `label`, `is_labeled`.
      teacher_logits: [B, h, w, C].

    Returns:
      int32 [B, H, W], and P [B, H, W].
    """
    logits = resize_bilinear_align_corners(teacher_logits, pool["image"].shape[1:3])
    return with_ground_truth(*pseudo_labels(logits), pool["is_labeled"], pool["label"].astype(jnp.int32))


def mix_mask(
    kind: str, key: jax.Array, label: jax.Array, disparity: jax.Array | None, classes: int, margin: float
) -> jax.Array:
    """Returns the mixing masks, bool [B, H, W]: true where the image itself is visible, false where the next one is.

    Args:
      kind: "depth" (Eq. 8), "class", "cut", or "none" for no mixing.
      key: of the random choices of "class" and "cut".
      label: int [B, H, W], for "class".
      disparity: [B, H, W, 1], normalised to [0, 1] per image, for "depth"; else None.
      classes: number of classes.
      margin: of "depth".
    """
    if kind == "depth":
        return depthmix_mask(disparity, next_sample(disparity, AXIS), margin)
    if kind == "class":
        return jax.vmap(lambda *args: classmix_mask(*args, classes))(sample_keys(key, len(label)), label)
    if kind == "cut":
        return jax.vmap(lambda key: cutmix_mask(key, *label.shape[1:]))(sample_keys(key, len(label)))
    return jnp.ones(label.shape, bool)


def mix_pool(
    target: tuple[jax.Array, jax.Array, jax.Array],
    disparity: jax.Array | None,
    key: jax.Array,
    kind: str,
    classes: int,
    margin: float = 0.03,
) -> MixedBatch:
    """Mixes every pool sample with the next one of the global batch.

    Args:
      target: image [B, H, W, 3], and the results of `label_pool`.
      disparity, key, kind, classes, margin: see `mix_mask`.
    """
    mask = mix_mask(kind, key, target[1], disparity, classes, margin)
    if kind == "none":
        return MixedBatch(*target, mask)
    return MixedBatch(*(mix(mask, own, next_sample(own, AXIS)) for own in target), mask)


def mix_with_source(
    source: dict,
    target: tuple[jax.Array, jax.Array, jax.Array],
    disparity: jax.Array | None,
    key: jax.Array,
    kind: str,
    classes: int,
    margin: float = 0.03,
) -> MixedBatch:
    """Pastes every source sample onto the pool sample at the same index of the batch.

    Args:
      source: `image`, `label` and, for kind "depth", `disparity`.
      target: image [B, H, W, 3], and the results of `label_pool`.
      disparity: of the pool, [B, H, W, 1], normalised to [0, 1] per image, for "depth"; else None.
      key: of the random choices.
      kind, classes, margin: see `adaptation.cross_domain_mask`.
    """
    keys = sample_keys(key, len(source["label"]))
    mask = cross_domain_mask(kind, keys, source["label"], source.get("disparity"), disparity, classes, margin)
    return MixedBatch(*cross_domain_mix(mask, (source["image"], source["label"]), target), mask)
