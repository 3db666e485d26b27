"""Optimizers and schedules of the paper (Sec. 4.3), with a learning rate per part of the network."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax


def learning_rate_schedule(kind: str, steps: int, decay_steps=(), decay_factor: float = 0.1) -> optax.Schedule:
    """A factor on the learning rates, 1 at the start.

    Args:
      kind: "step" (times `decay_factor` at each of `decay_steps`) or "cosine" (to zero at `steps`).
    """
    if kind == "cosine":
        return optax.cosine_decay_schedule(1.0, steps)
    return optax.piecewise_constant_schedule(1.0, {int(boundary): decay_factor for boundary in decay_steps})


def learning_rate_factor(rule: str, batch_size: int, reference: int) -> float:
    """What learning rates are multiplied by where the batch is not the one that they are meant for.

    Args:
      rule: "none"; "linear" (Goyal et al. 2017, for SGD); "sqrt" (for Adam, whose updates do not grow with the
        gradient).
      batch_size: of all devices together.
      reference: batch size that the rates are meant for.
    """
    return (batch_size / reference) ** {"none": 0.0, "linear": 1.0, "sqrt": 0.5}[rule]


def label_parts(params, part_of: Callable[[tuple[str, ...]], str]):
    """Maps a parameter tree to the same tree of part names.

    Args:
      part_of: function of a parameter's path, e.g. ("distillation", "to_depth", "conv", "kernel").
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: part_of(tuple(str(key.key) for key in path)), params)


def _scale_by_part(rates: Mapping[str, float], schedule: optax.Schedule, part_of) -> optax.GradientTransformation:
    transforms = {
        part: optax.scale_by_learning_rate(lambda step, rate=rate: rate * schedule(step))
        for part, rate in rates.items()
    }
    return optax.multi_transform(transforms, lambda params: label_parts(params, part_of))


def sgd(
    rates: Mapping[str, float],
    schedule: optax.Schedule,
    part_of: Callable[[tuple[str, ...]], str],
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    clip_norm: float = 10.0,
) -> optax.GradientTransformation:
    """SGD of the segmentation trainings: clip the global norm, add weight decay on all parameters, momentum."""
    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum),
        _scale_by_part(rates, schedule, part_of),
    )


def adam(
    rates: Mapping[str, float],
    schedule: optax.Schedule,
    part_of: Callable[[tuple[str, ...]], str],
    clip_norm: float = 0.0,
    frozen_steps: Mapping[str, int] | None = None,
) -> optax.GradientTransformation:
    """Adam of the depth trainings.

    Args:
      rates: part -> learning rate.
      schedule: factor on them.
      part_of: function of a parameter's path.
      clip_norm: of the whole gradient; 0 for no clipping.
      frozen_steps: part -> number of first steps that do not count for it, in which it stays as it is. Its averages
        start after them: those of hundreds of thousands of zero gradients would pass for well known, and the first
        steps would be several times too large.
    """
    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        _adam_by_part(frozen_steps, part_of) if frozen_steps else optax.scale_by_adam(),
        _scale_by_part(rates, schedule, part_of),
    )


def _adam_by_part(frozen_steps: Mapping[str, int], part_of) -> optax.GradientTransformation:
    def after(steps: int) -> optax.GradientTransformation:
        return optax.conditionally_mask(optax.scale_by_adam(), lambda step: step >= steps)

    transforms = {part: after(steps) for part, steps in frozen_steps.items()} | {"others": optax.scale_by_adam()}

    def labels(params):
        parts = label_parts(params, part_of)
        return jax.tree.map(lambda part: part if part in frozen_steps else "others", parts)

    return optax.multi_transform(transforms, labels)


def encoder_or_rest(path: tuple[str, ...]) -> str:
    """Parts of a depth training: the encoder, and everything else."""
    return "encoder" if path[0] == "encoder" else "rest"


def pretrained_pose_or_scratch(path: tuple[str, ...]) -> str:
    """Parts of a segmentation training (Sec. 4.3).

    The encoder and all that belongs to depth arrive pretrained: depth decoder, the attention that feeds the depth
    branch, and the pose network, which hardly learns any more (`segmentation_optimizer` has it learn from scratch where
    it is not pretrained). The segmentation decoder, its heads and the attention that feeds it start (nearly) anew.
    """
    if path[0] == "pose":
        return "pose"
    if path[0] in ("encoder", "depth_decoder") or path[:2] == ("distillation", "to_depth"):
        return "pretrained"
    return "scratch"


def depth_optimizer(config) -> optax.GradientTransformation:
    """The optimizer of `pretrain_depth` from `config.depth`."""
    schedule = learning_rate_schedule(config.schedule, config.steps, config.decay_steps, config.decay_factor)
    factor = learning_rate_factor(config.learning_rate_rule, config.batch_size, config.reference_batch_size)
    rates = {"encoder": factor * config.encoder_learning_rate, "rest": factor * config.learning_rate}
    frozen = {"encoder": config.frozen_steps} if 0 < config.frozen_steps < config.steps else None
    return adam(rates, schedule, encoder_or_rest, frozen_steps=frozen)


def student_optimizer(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with the rate learning_rate * (1 - step / steps) ** 0.9, for students of the data selection.

    `steps` lies in the optimizer's state: `update` is the same compiled function for trainings of any length.
    """

    def make(steps):
        return optax.chain(
            optax.scale_by_adam(),
            optax.scale_by_learning_rate(lambda step: learning_rate * jnp.maximum(1 - step / steps, 0.0) ** 0.9),
        )

    return optax.inject_hyperparams(make)(steps=float(steps))


def segmentation_optimizer(config) -> optax.GradientTransformation:
    """The optimizer of `train` from `config.segmentation`."""
    schedule = learning_rate_schedule(config.schedule, config.steps, config.decay_steps, config.decay_factor)
    factor = learning_rate_factor(config.learning_rate_rule, config.batch_size, config.reference_batch_size)
    pose_is_pretrained = config.init_decoder == "depth"
    rates = {
        "pretrained": factor * config.pretrained_learning_rate,
        "pose": factor * (config.pose_learning_rate if pose_is_pretrained else config.learning_rate),
        "scratch": factor * config.learning_rate,
    }
    if config.optimizer == "adam":
        return adam(rates, schedule, pretrained_pose_or_scratch, config.clip_norm)
    return sgd(rates, schedule, pretrained_pose_or_scratch, config.momentum, config.weight_decay, config.clip_norm)
