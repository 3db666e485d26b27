"""What `train` minimises: the sum of named terms of Sec. 3.3 and 3.4, each switched by the config (Eq. 5, 13)."""

import jax
import jax.numpy as jnp
from flax import struct

from sdeseg_jax.mixing.augmentation import strong_augmentation
from sdeseg_jax.mixing.depthmix import depthmix_mask, mix, next_sample, normalize_disparity
from sdeseg_jax.mixing.losses import supervised_cross_entropy, weighted_cross_entropy
from sdeseg_jax.mixing.pseudo_labels import pseudo_labels, quality, with_ground_truth
from sdeseg_jax.models.resize import resize_bilinear_align_corners
from sdeseg_jax.training.depth_objective import depth_term, loss_settings
from sdeseg_jax.training.forward import Forward
from sdeseg_jax.training.replication import AXIS
from sdeseg_jax.training.step import Objective, Outcome, device_key

FRAMES = ("prev_image", "image", "next_image")


@struct.dataclass
class MixedBatch:
    """A batch for the student, composed of pairs of pool images (Sec. 3.4).

    Attributes:
      image: [B, H, W, 3], before strong augmentation.
      label: int [B, H, W].
      confidence: P' [B, H, W] (Eq. 16).
      mask: bool [B, H, W], true where the image itself is seen, false where its partner is.
    """

    image: jax.Array
    label: jax.Array
    confidence: jax.Array
    mask: jax.Array


def mix_pool(pool: dict, teacher_logits: jax.Array, disparity: jax.Array | None, margin: float) -> MixedBatch:
    """Labels a pool batch by the teacher and mixes every sample with the next one of the global batch.

    Args:
      pool: with `image`, `label`, `is_labeled`; annotations count as labels of confidence 1 (Eq. 15).
      teacher_logits: [B, h, w, C].
      disparity: of the pool images, [B, H, W, 1], in any unit; None for no mixing.
      margin: of the DepthMix mask (Eq. 8).
    """
    image = pool["image"]
    logits = resize_bilinear_align_corners(teacher_logits, image.shape[1:3])
    label, confidence = with_ground_truth(*pseudo_labels(logits), pool["is_labeled"], pool["label"].astype(jnp.int32))
    if disparity is None:
        return MixedBatch(image, label, confidence, jnp.ones(label.shape, bool))
    disparity = normalize_disparity(jax.lax.stop_gradient(disparity))
    mask = depthmix_mask(disparity, next_sample(disparity, AXIS), margin)
    return MixedBatch(*(mix(mask, own, next_sample(own, AXIS)) for own in (image, label, confidence)), mask)


def _mean_over_heads(loss, predictions) -> jax.Array:
    """Mean of the final and, in the multi-task network, the intermediate cross-entropy (Sec. 3.3)."""
    heads = [predictions.logits]
    if predictions.intermediate_logits is not None:
        heads.append(predictions.intermediate_logits)
    return sum(loss(logits) for logits in heads) / len(heads)


def make_segmentation_objective(network, config, class_weights: jax.Array | None = None) -> Objective:
    """Builds the objective; the supervised baseline is the same function with terms switched off.

    Args:
      network: with the branches that the terms need.
      config: the whole config; `segmentation` switches the terms, `depth` sets the depth loss.
      class_weights: [C] or None.

    Returns:
      Objective of batches {"labeled": ..., "pool": ...}; "pool" is absent for purely supervised training.
    """
    options, settings = config.segmentation, loss_settings(config.depth)

    def objective(params, state, batches, key):
        keys = jax.random.split(key, 4)
        labeled, pool = batches["labeled"], batches.get("pool")
        samples = labeled["image"].shape[0]
        student = Forward(network, params, state.batch_stats, device_key(keys[0]))
        terms, metrics, teacher_batch_stats = {}, {}, state.teacher_batch_stats

        if options.multitask:
            # Labelled and pool images in one pass: both are of the same domain, and depth is learned on both.
            video = labeled if pool is None else _concatenate(labeled, pool)
            frames = jnp.stack([video[name] for name in FRAMES])
            predictions = student(video["image"])
            disparities = predictions.disparities[: config.depth.scales]
            value = depth_term(settings, student, disparities, frames, video, keys[1])
            terms["depth"], metrics["depth/warped_share"] = value.loss, value.warped_share
            pool_disparity = predictions.disparities[0][samples:]
            predictions = jax.tree.map(lambda x: x[:samples], predictions)
        else:
            predictions = student(labeled["image"])

        terms["supervised"] = _mean_over_heads(
            lambda logits: supervised_cross_entropy(logits, labeled["label"], class_weights, AXIS), predictions
        )

        if options.pseudo_labels:
            teacher = Forward(network, state.teacher_params, state.teacher_batch_stats, device_key(keys[2]))
            teacher_logits = teacher(pool["image"]).logits
            teacher_batch_stats = teacher.batch_stats
            disparity = None
            if options.mix == "depth":
                disparity = pool_disparity if options.mix_disparity == "online" else pool["disparity"]
            mixed = mix_pool(pool, teacher_logits, disparity, options.mix_margin)
            weights = quality(mixed.confidence, options.confidence_threshold)
            image = strong_augmentation(keys[3], mixed.image) if options.strong_augmentation else mixed.image
            terms["pseudo_label"] = _mean_over_heads(
                lambda logits: weighted_cross_entropy(logits, mixed.label, weights, class_weights), student(image)
            )
            metrics["pseudo_label/quality"] = jnp.mean(weights)

        term_weights = {"depth": options.depth_weight, "pseudo_label": options.pseudo_label_weight}
        total = sum(term_weights.get(name, 1.0) * value for name, value in terms.items())
        return total, Outcome(terms, student.batch_stats, teacher_batch_stats, metrics)

    return objective


def _concatenate(first: dict, second: dict) -> dict:
    return {name: jnp.concatenate([first[name], second[name]]) for name in (*FRAMES, "intrinsics")}
