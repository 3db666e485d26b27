"""What `train` minimises: the sum of named terms of Sec. 3.3 and 3.4, each switched by the config (Eq. 5, 13)."""

import jax
import jax.numpy as jnp
from flax import struct

from sdeseg_jax.mixing.augmentation import strong_augmentation
from sdeseg_jax.mixing.classmix import classmix_mask
from sdeseg_jax.mixing.composition import mix, next_sample
from sdeseg_jax.mixing.cutmix import cutmix_mask
from sdeseg_jax.mixing.depthmix import depthmix_mask, normalize_disparity
from sdeseg_jax.mixing.losses import supervised_cross_entropy, weighted_cross_entropy
from sdeseg_jax.mixing.pseudo_labels import pseudo_labels, quality, with_ground_truth
from sdeseg_jax.models.resize import resize_bilinear_align_corners
from sdeseg_jax.training.depth_objective import depth_frames, depth_term
from sdeseg_jax.training.forward import Forward
from sdeseg_jax.training.replication import AXIS
from sdeseg_jax.training.step import Objective, Outcome, device_key, sample_keys


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


def mix_mask(
    kind: str, key: jax.Array, label: jax.Array, disparity: jax.Array | None, classes: int, margin: float
) -> jax.Array:
    """The mask of every pool sample: true where the image itself is seen, false where the next one is.

    Args:
      kind: "depth" (Eq. 8), "class", "cut", or "none" for no mixing.
      key: of the drawing, where there is any.
      label: int [B, H, W], what "class" takes classes from.
      disparity: [B, H, W, 1], in any unit, what "depth" compares; else None.
      classes: number of classes.
      margin: of "depth".

    Returns:
      bool [B, H, W].
    """
    if kind == "depth":
        disparity = normalize_disparity(jax.lax.stop_gradient(disparity))
        return depthmix_mask(disparity, next_sample(disparity, AXIS), margin)
    if kind == "class":
        return jax.vmap(lambda *args: classmix_mask(*args, classes))(sample_keys(key, len(label)), label)
    if kind == "cut":
        return jax.vmap(lambda key: cutmix_mask(key, *label.shape[1:]))(sample_keys(key, len(label)))
    return jnp.ones(label.shape, bool)


def mix_pool(
    pool: dict, teacher_logits: jax.Array, disparity: jax.Array | None, key: jax.Array, kind: str, margin: float = 0.03
) -> MixedBatch:
    """Labels a pool batch by the teacher and mixes every sample with the next one of the global batch.

    Args:
      pool: with `image`, `label`, `is_labeled`; annotations count as labels of confidence 1 (Eq. 15).
      teacher_logits: [B, h, w, C].
      disparity, key, kind, margin: see `mix_mask`.
    """
    image = pool["image"]
    logits = resize_bilinear_align_corners(teacher_logits, image.shape[1:3])
    label, confidence = with_ground_truth(*pseudo_labels(logits), pool["is_labeled"], pool["label"].astype(jnp.int32))
    mask = mix_mask(kind, key, label, disparity, logits.shape[-1], margin)
    if kind == "none":
        return MixedBatch(image, label, confidence, mask)
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
    options = config.segmentation

    def objective(params, state, batches, key):
        keys = jax.random.split(key, 5)
        labeled, pool = batches["labeled"], batches.get("pool")
        student = Forward(network, params, state.batch_stats, device_key(keys[0]))
        terms, metrics, teacher_batch_stats = {}, {}, state.teacher_batch_stats

        def with_depth(batch, key):
            """Predictions for a batch of video, its depth loss, and metrics."""
            predictions, frames = student(batch["image"]), depth_frames(config.depth, batch)
            disparities = predictions.disparities[: config.depth.scales]
            return predictions, *depth_term(config.depth, student, disparities, frames, batch, key)

        if options.multitask:
            # A pass each, as in the release: BatchNorm in train mode is of labelled images alone, or of the pool's.
            predictions, terms["depth"], metrics = with_depth(labeled, keys[1])
            if pool is not None:
                pool_predictions, pool_depth, _ = with_depth(pool, jax.random.fold_in(keys[1], 1))
                terms["depth"] += pool_depth
                pool_disparity = pool_predictions.disparities[0]
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
            mixed = mix_pool(pool, teacher_logits, disparity, keys[4], options.mix, options.mix_margin)
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
