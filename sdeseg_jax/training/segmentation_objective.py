"""Objective of `train`: named terms of Sec. 3.3, 3.4 and 3.5, each switched by the config (Eq. 5, 13, 19-21)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sdeseg_jax.mixing.augmentation import strong_augmentation
from sdeseg_jax.mixing.depthmix import normalize_disparity
from sdeseg_jax.mixing.pseudo_labels import quality
from sdeseg_jax.mixing.segmentation_cross_entropy import supervised_cross_entropy, weighted_cross_entropy
from sdeseg_jax.training.apply_named_mix import MixedBatch, label_pool, mix_pool, mix_with_source
from sdeseg_jax.training.depth_objective import collapse_metrics, depth_frames, depth_terms
from sdeseg_jax.training.forward_passes import Forward
from sdeseg_jax.training.replication import AXIS
from sdeseg_jax.training.train_step import Objective, Outcome

ORDER = ("source", "labeled", "pool", "cross_domain", "pseudo_label")
"""In which batches update the running statistics: the source first, so that it weighs least in them."""


def _mean_over_heads(loss: Callable) -> Callable:
    """Returns predictions -> mean loss of the final and, in the multi-task network, intermediate logits (Sec. 3.3)."""

    def mean(predictions):
        heads = [predictions.logits, predictions.intermediate_logits]
        losses = [loss(logits) for logits in heads if logits is not None]
        return sum(losses) / len(losses)

    return mean


def pseudo_label_metrics(teacher_logits: jax.Array) -> dict[str, jax.Array]:
    """Metrics of the teacher's predictions for the pool, from this device's logits [B, H, W, C].

    `confidence` is the mean probability of the predicted class; NaN if any of the teacher's outputs is.
    `largest_class` is the share of the pixels of all devices that get the most frequent class: near 1, pseudo-labels
    have collapsed.
    """
    labels = jnp.argmax(teacher_logits, axis=-1)
    shares = jnp.mean(labels[..., None] == jnp.arange(teacher_logits.shape[-1]), axis=(0, 1, 2), dtype=jnp.float32)
    return {
        "pseudo_label/confidence": jnp.mean(jnp.max(jax.nn.softmax(teacher_logits), axis=-1)),
        "pseudo_label/largest_class": jnp.max(jax.lax.pmean(shares, AXIS)),
    }


def make_segmentation_objective(network, config) -> Objective:
    """Builds the objective; baselines are the same function with terms switched off.

    Terms: `supervised` (target labels), `depth` (of target video), `pseudo_label` (the target mixed with itself), and
    with a source domain `source` (its labels) and `cross_domain` (the source pasted onto the target).

    Args:
      network: with the branches that the terms need.
      config: the whole config; `segmentation` switches the terms, `depth` sets the depth loss.

    Returns:
      Objective on batches {"labeled": ..., "pool": ..., "source": ..., "class_weights": [C]}, without "pool" if no
      unlabelled images are used, "source" if there is no source domain, "class_weights" if classes count the same.
    """
    options = config.segmentation

    def objective(params, state, batches, key):
        keys, cross_keys = jax.random.split(key, 5), jax.random.split(jax.random.fold_in(key, 5))
        labeled, pool, source = batches["labeled"], batches.get("pool"), batches.get("source")
        class_weights = batches.get("class_weights")
        student = Forward(network, params, state.batch_stats, keys[0], ORDER, options.freeze_encoder)
        terms, metrics, teacher_batch_stats = {}, {}, state.teacher_batch_stats
        waiting: dict[str, tuple[jax.Array, Callable]] = {}  # images whose logits are needed, predictions -> term

        def supervised(label):
            return _mean_over_heads(lambda logits: supervised_cross_entropy(logits, label, class_weights, AXIS))

        def mixed_term(name: str, mixed: MixedBatch, key):
            """Adds the cross-entropy of a mixed batch, weighted by its quality (Eq. 13, 14).

            Class weights apply to annotations only: a teacher that learned with them prefers rare classes, and its
            labels would count more the rarer a class is. With ClassMix on Streets, that ended 10 points of mIoU lower
            (one seed, 600 steps at 1e-3, confidence_threshold=0.6).
            """
            weights = quality(mixed.confidence, options.confidence_threshold)
            image = strong_augmentation(key, mixed.image) if options.strong_augmentation else mixed.image
            metrics[f"{name}/quality"] = jnp.mean(weights)
            waiting[name] = image, _mean_over_heads(lambda logits: weighted_cross_entropy(logits, mixed.label, weights))

        # At most two passes: mixing may need the disparity from the first one.
        if source is not None and options.source_weight:
            waiting["source"] = source["image"], supervised(source["label"])
        if options.multitask:
            videos = {"labeled": labeled} | ({} if pool is None else {"pool": pool})
            predictions = student.together(
                {name: batch["image"] for name, batch in videos.items()},
                depth=("labeled", "pool"),
                segmentation=("labeled",),
            )
            disparities = {name: one.disparities for name, one in predictions.items()}
            frames = {name: depth_frames(config.depth, batch) for name, batch in videos.items()}
            terms["depth"], depth_metrics = depth_terms(config.depth, student, disparities, frames, videos, keys[1])
            metrics |= depth_metrics | collapse_metrics(disparities["labeled"][0])
            terms["supervised"] = supervised(labeled["label"])(predictions["labeled"])
        else:
            waiting["labeled"] = labeled["image"], supervised(labeled["label"])

        if pool is not None:
            teacher = Forward(network, state.teacher_params, state.teacher_batch_stats, keys[2])
            teacher_logits = teacher(pool["image"]).logits
            teacher_batch_stats, classes = teacher.batch_stats, teacher_logits.shape[-1]
            target = (pool["image"], *label_pool(pool, teacher_logits))
            metrics |= pseudo_label_metrics(teacher_logits)
            if source is not None and options.cross_mix != "none":
                mixed = mix_with_source(
                    source, target, pool.get("disparity"), cross_keys[0], options.cross_mix, classes, options.mix_margin
                )
                mixed_term("cross_domain", mixed, cross_keys[1])
                metrics["cross_domain/source_share"] = jnp.mean(mixed.mask, dtype=jnp.float32)
            if options.pseudo_labels:
                disparity = pool.get("disparity")
                if options.mix == "depth" and options.mix_disparity == "online":
                    disparity = normalize_disparity(jax.lax.stop_gradient(disparities["pool"][0]))
                mixed = mix_pool(target, disparity, keys[4], options.mix, classes, options.mix_margin)
                mixed_term("pseudo_label", mixed, keys[3])

        if waiting:
            images = {name: image for name, (image, _) in waiting.items()}
            predictions = student.together(images, depth=(), segmentation=tuple(images))
            for name, (_, term) in waiting.items():
                terms["supervised" if name == "labeled" else name] = term(predictions[name])

        weights = {
            "depth": options.depth_weight,
            "pseudo_label": options.pseudo_label_weight,
            "source": options.source_weight,
            "cross_domain": options.cross_mix_weight,
        }
        total = sum(weights.get(name, 1.0) * value for name, value in terms.items())
        return total, Outcome(terms, student.batch_stats, teacher_batch_stats, metrics)

    return objective
