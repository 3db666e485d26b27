"""Objective of `pretrain_depth`: the depth loss and the feature distance (Sec. 3.1, Eq. 6, 7)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from sdeseg_jax.depth.loss_terms import feature_distance
from sdeseg_jax.depth.self_supervised_loss import (
    SelfSupervisedDepthLoss,
    self_supervised_depth_loss,
    tie_breaking_noise,
)
from sdeseg_jax.depth.supervised_loss import supervised_depth_loss
from sdeseg_jax.mixing.augmentation import MILD, color_jitter_per_sample
from sdeseg_jax.models.layers import numbered_keys
from sdeseg_jax.training.forward_passes import Forward
from sdeseg_jax.training.replication import AXIS
from sdeseg_jax.training.train_step import Objective, Outcome, sample_keys


def loss_settings(config) -> SelfSupervisedDepthLoss:
    """Returns the loss settings of `config.depth`."""
    return SelfSupervisedDepthLoss(config.min_depth, config.max_depth, config.smoothness_weight, config.automask)


def depth_fields(config) -> tuple[str, ...]:
    """Returns the batch fields that `depth_terms` needs beside `image`, by `config.depth`."""
    return ("depth",) if config.supervision == "depth" else ("prev_image", "next_image", "intrinsics")


def depth_frames(config, batch: dict) -> jax.Array:
    """Returns the networks' input, [F, B, H, W, 3]: previous, target, next frame; with supervision only the target."""
    names = ("image",) if config.supervision == "depth" else ("prev_image", "image", "next_image")
    return jnp.stack([batch[name] for name in names])


def depth_terms(
    config, forward: Forward, disparities: Mapping, frames: Mapping, batches: Mapping[str, dict], key: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Depth loss of several batches: self-supervised, with ego-motion predicted by `forward`, or from known depth.

    Args:
      config: `config.depth`.
      forward: forward passes of this step.
      disparities: batch name -> disparities predicted for its target, fine to coarse.
      frames: batch name -> `depth_frames`, possibly jittered.
      batches: batch name -> `image` and `depth_fields`, which the loss compares; all of one shape.
      key: for the tie-breaking noise.

    Returns:
      The sum of the batches' losses, and the metrics of the first batch by name.
    """
    transforms = {name: None for name in batches}
    if config.supervision != "depth":
        transforms = forward.transforms(frames)

    def loss(key, disparities, transforms, batch):
        disparities = disparities[: config.scales]
        if config.supervision == "depth":
            return supervised_depth_loss(disparities, batch["depth"], config.min_depth, config.max_depth, AXIS), {}
        target, sources = batch["image"], jnp.stack([batch["prev_image"], batch["next_image"]])
        noise = None
        if config.automask:
            noise = tie_breaking_noise(sample_keys(key, target.shape[0]), len(sources), *target.shape[1:3])
        value = self_supervised_depth_loss(
            loss_settings(config), disparities, transforms, target, sources, batch["intrinsics"], noise
        )
        return value.loss, {"depth/warped_share": value.warped_share}

    fields = ("image", *depth_fields(config))
    arguments = [
        (disparities[name], transforms[name], {field: batches[name][field] for field in fields}) for name in batches
    ]
    keys = numbered_keys(key, 0, len(arguments))
    if len(arguments) == 1:
        return loss(keys[0], *arguments[0])
    # One computation for all batches, like their forward passes.
    losses, metrics = jax.vmap(loss)(keys, *jax.tree.map(lambda *arrays: jnp.stack(arrays), *arguments))
    return jnp.sum(losses), {name: values[0] for name, values in metrics.items()}


def encoder_of(network):
    """Returns a network that is the encoder of `network` alone."""
    return network.clone(depth=False, segmentation=False, distillation=False, pose=False)


def collapse_metrics(disparity: jax.Array) -> dict[str, jax.Array]:
    """Early signs of a collapsed depth network, from this device's disparity [B, H, W, 1].

    `spatial_variation` (standard deviation over pixels / mean) is 0 for a constant map; `picture_dependence` (the same
    per pixel over the images of all devices) is 0 if every image gets the same map, and left out for a single image.
    """
    mean = jax.lax.pmean(jnp.mean(disparity), AXIS) + 1e-12
    metrics = {"disparity/mean": mean, "disparity/spatial_variation": jnp.mean(jnp.std(disparity, axis=(1, 2))) / mean}
    if len(disparity) * jax.lax.psum(1, AXIS) > 1:
        average = jax.lax.pmean(jnp.mean(disparity, axis=0), AXIS)
        variance = jax.lax.pmean(jnp.mean(jnp.square(disparity - average), axis=0), AXIS)
        metrics["disparity/picture_dependence"] = jnp.mean(jnp.sqrt(variance)) / mean
    return metrics


def make_depth_objective(network, config, frozen: bool) -> Objective:
    """Builds the objective of one phase of depth training.

    Args:
      network: with encoder and depth decoder, and a pose network unless depth is supervised.
      config: `config.depth`.
      frozen: phase 1, in which the encoder keeps its weights. Phase 2 adds the feature distance to `state.reference`,
        unless its weight is zero.
    """
    target = 0 if config.supervision == "depth" else 1  # index of the target among the frames

    def objective(params, state, batches, key):
        batch = batches["video"]
        frames = depth_frames(config, batch)
        if config.color_jitter:
            keys = sample_keys(jax.random.fold_in(key, 0), frames.shape[1])
            frames = color_jitter_per_sample(keys, frames, MILD)
        forward = Forward(network, params, state.batch_stats, jax.random.fold_in(key, 1), frozen=frozen)
        predictions = forward(frames[target])
        disparities, noise_key = {"video": predictions.disparities}, jax.random.fold_in(key, 2)
        total, metrics = depth_terms(config, forward, disparities, {"video": frames}, batches, noise_key)

        terms = {"depth": total}
        if config.feature_distance_weight and not frozen:
            reference = encoder_of(network).apply(state.reference, frames[target], train=False)
            terms["feature_distance"] = feature_distance(
                predictions.bottleneck, reference.bottleneck, config.reference_batch_size, AXIS
            )
            total = total + config.feature_distance_weight * terms["feature_distance"]
        metrics |= collapse_metrics(predictions.disparities[0])
        return total, Outcome(terms, forward.batch_stats, state.teacher_batch_stats, metrics)

    return objective
