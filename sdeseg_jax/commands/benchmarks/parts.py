"""The parts of a multi-task step as separate programs, `part(shared, batch) -> arrays`, to be mapped over devices.

They use the same public functions as the step but are compiled alone. The step costs less than their sum where the
compiler fuses parts or runs them together.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sdeseg_jax.commands.benchmarks.synthetic import make_batches, make_views
from sdeseg_jax.commands.benchmarks.training import Training
from sdeseg_jax.depth.self_supervised_loss import self_supervised_depth_loss
from sdeseg_jax.mixing.augmentation import strong_augmentation
from sdeseg_jax.mixing.depthmix import normalize_disparity
from sdeseg_jax.mixing.mean_teacher import update_teacher
from sdeseg_jax.mixing.segmentation_cross_entropy import supervised_cross_entropy
from sdeseg_jax.training.apply_named_mix import label_pool, mix_pool
from sdeseg_jax.training.depth_objective import loss_settings
from sdeseg_jax.training.replication import AXIS


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the step.

    Attributes:
      times: how often the step calls it.
      function: takes the shared arrays and a device's batch with float images.
      shared: NumPy arrays that all devices share.
      batch: NumPy arrays [1, B, ...].
    """

    times: int
    function: Callable
    shared: Any
    batch: Any


def make_parts(training: Training, state, batch: int) -> dict[str, Part]:
    """Returns the parts of a training's step on one device, in its order, by name.

    Args:
      training: multi-task, with a pool.
      state: NumPy arrays, from `training.make_state`.
      batch: number of images in each of the step's batches.
    """
    config, batches = training.config, make_batches(training.config, 1, batch)
    labeled, pool = batches["labeled"], batches["pool"]
    student, teacher = ((state.params, state.batch_stats), (state.teacher_params, state.teacher_batch_stats))
    weights = state.params, state.opt_state, state.teacher_params
    mixed = {"pool": pool, "logits": _logits(training, pool), "disparity": pool["image"][..., :1] / np.float32(255)}
    return {
        "teacher forward": Part(1, _teacher(training), teacher, pool),
        "student forward + backward": Part(3, _student(training), student, labeled),
        "pose forward + backward": Part(2, _pose(training), student, labeled),
        "depth loss forward + backward": Part(2, *_depth(config, batch)),
        "mixing, augmentation": Part(1, _mixing(config), (), mixed),
        "update, moving average": Part(1, _update(training), weights, {"scale": np.ones((1, 1))}),
    }


def _apply(training: Training, params, batch_stats, *inputs, **options):
    options |= {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(0)}}
    return training.network.apply({"params": params, "batch_stats": batch_stats}, *inputs, **options)


def _logits(training: Training, pool: dict) -> np.ndarray:
    """Returns random logits in the shape of the teacher's."""
    config = training.config
    height, width = (side >> config.model.head_level for side in config.data.crop)
    shape = (1, pool["label"].shape[1], height, width, training.network.num_classes)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _teacher(training: Training) -> Callable:
    def function(shared, batch):
        predictions, updates = _apply(training, *shared, batch["image"])
        return jax.lax.pmean((predictions.logits, updates), AXIS)

    return function


def _student(training: Training) -> Callable:
    """Gradient of a batch's cross-entropy for both heads, plus a loss on every disparity."""

    def function(shared, batch):
        params, batch_stats = shared

        def loss(params):
            predictions, updates = _apply(training, params, batch_stats, batch["image"])
            heads = predictions.logits, predictions.intermediate_logits
            total = sum(supervised_cross_entropy(logits, batch["label"], axis_name=AXIS) for logits in heads)
            return total + sum(jnp.mean(one**2) for one in predictions.disparities), updates

        return jax.lax.pmean(jax.grad(loss, has_aux=True)(params), AXIS)

    return function


def _pose(training: Training) -> Callable:
    """Gradient for the pose network's weights, from the motion of both pairs of a batch."""

    def function(shared, batch):
        params, batch_stats = shared
        first = jnp.concatenate([batch["prev_image"], batch["image"]])
        second = jnp.concatenate([batch["image"], batch["next_image"]])

        def loss(pose):
            pose, _ = _apply(training, {**params, "pose": pose}, batch_stats, first, second, method="predict_pose")
            return jnp.sum(pose.axisangle**2) + jnp.sum(pose.translation**2)

        return jax.lax.pmean(jax.grad(loss)(params["pose"]), AXIS)

    return function


def _depth(config, batch: int) -> tuple[Callable, tuple, dict]:
    """Function, shared arrays and batch: gradient of the depth loss by given disparities and transforms."""
    settings = loss_settings(config.depth)
    views = jax.tree.map(lambda x: x[None], make_views(config.data.crop, batch, config.depth.scales))

    def function(_, views):
        fixed = views["target"], views["sources"], views["intrinsics"], views["noise"] if settings.automask else None

        def loss(disparities, transforms):
            return self_supervised_depth_loss(settings, disparities, transforms, *fixed).loss

        gradients = jax.value_and_grad(loss, argnums=(0, 1))(views["disparities"], views["transforms"])
        return jax.lax.pmean(gradients, AXIS)

    return function, (), views


def _mixing(config) -> Callable:
    options = config.segmentation

    def function(_, batch):
        pool, key = batch["pool"], jax.random.key(0)
        target = (pool["image"], *label_pool(pool, batch["logits"]))
        disparity = normalize_disparity(batch["disparity"])
        mixed = mix_pool(target, disparity, key, options.mix, batch["logits"].shape[-1], options.mix_margin)
        image = strong_augmentation(key, mixed.image) if options.strong_augmentation else mixed.image
        return jax.lax.pmean((image, mixed.label.astype(jnp.float32), mixed.confidence), AXIS)

    return function


def _update(training: Training) -> Callable:
    def function(shared, batch):
        params, opt_state, teacher = shared
        gradients = jax.tree.map(lambda x: x * batch["scale"][0].astype(x.dtype), params)  # any values will do
        updates, opt_state = training.optimizer.update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
        teacher = update_teacher(teacher, params, jnp.zeros((), jnp.int32), training.config.segmentation.teacher_decay)
        return params, opt_state, teacher, optax.global_norm(gradients)

    return function
