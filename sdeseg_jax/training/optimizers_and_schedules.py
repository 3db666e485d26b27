"""Optimizers and schedules of the paper (Sec. 4.3), with a learning rate per part of the network."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax


def learning_rate_schedule(kind: str, steps: int, decay_steps=(), decay_factor: float = 0.1) -> optax.Schedule:
    """Returns a schedule of a factor on the learning rates, 1 at the start.

    Args:
      kind: "step" (times `decay_factor` at each of `decay_steps`) or "cosine" (to zero at `steps`).
    """
    if kind == "cosine":
        return optax.cosine_decay_schedule(1.0, steps)
    return optax.piecewise_constant_schedule(1.0, {int(boundary): decay_factor for boundary in decay_steps})


def learning_rate_factor(rule: str, batch_size: int, reference: int) -> float:
    """Returns the factor that adapts learning rates to the batch size.

    Args:
      rule: "none"; "linear" (Goyal et al. 2017, for SGD); "sqrt" (for Adam, whose updates do not grow with the
        gradient).
      batch_size: of all devices together.
      reference: batch size for which the rates were chosen.
    """
    return (batch_size / reference) ** {"none": 0.0, "linear": 1.0, "sqrt": 0.5}[rule]


def label_parts(params, part_of: Callable[[tuple[str, ...]], str]):
    """Returns a tree like `params` with the name of each parameter's part.

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


def _clip(norm: float) -> optax.GradientTransformation:
    return optax.clip_by_global_norm(norm) if norm else optax.identity()


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
        _clip(clip_norm),
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
      schedule: factor on the rates.
      part_of: function of a parameter's path.
      clip_norm: of the whole gradient; 0 for no clipping.
      frozen_steps: part -> number of first steps in which it does not change. Its averages start after them: bias
        correction would take averages over many zero gradients for accurate, and the first steps would be several
        times too large.
    """
    return optax.chain(
        _clip(clip_norm),
        _adam_by_part(frozen_steps, part_of) if frozen_steps else optax.scale_by_adam(),
        _scale_by_part(rates, schedule, part_of),
    )


def _adam_by_part(frozen_steps: Mapping[str, int], part_of) -> optax.GradientTransformation:
    def start_after(steps: int) -> optax.GradientTransformation:
        return optax.conditionally_mask(optax.scale_by_adam(), lambda step: step >= steps)

    transforms = {part: start_after(steps) for part, steps in frozen_steps.items()} | {"others": optax.scale_by_adam()}

    def labels(params):
        parts = label_parts(params, part_of)
        return jax.tree.map(lambda part: part if part in frozen_steps else "others", parts)

    return optax.multi_transform(transforms, labels)


def encoder_or_rest(path: tuple[str, ...]) -> str:
    """Returns a parameter's part in a depth training: the encoder, or everything else."""
    return "encoder" if path[0] == "encoder" else "rest"


def pretrained_pose_or_scratch(path: tuple[str, ...]) -> str:
    """Returns a parameter's part in a segmentation training (Sec. 4.3).

    The encoder, the depth decoder, the attention that feeds the depth branch and the pose network are pretrained. The
    pose network has a lower rate of its own, or that of "scratch" where it is not pretrained. The segmentation decoder,
    its heads and the attention that feeds it start (nearly) from scratch.
    """
    if path[0] == "pose":
        return "pose"
    if path[0] in ("encoder", "depth_decoder") or path[:2] == ("distillation", "to_depth"):
        return "pretrained"
    return "scratch"


def depth_optimizer(config) -> optax.GradientTransformation:
    """Returns the optimizer of `pretrain_depth`, from `config.depth`."""
    schedule = learning_rate_schedule(config.schedule, config.steps, config.decay_steps, config.decay_factor)
    factor = learning_rate_factor(config.learning_rate_rule, config.batch_size, config.reference_batch_size)
    rates = {"encoder": factor * config.encoder_learning_rate, "rest": factor * config.learning_rate}
    frozen = {"encoder": config.frozen_steps} if 0 < config.frozen_steps < config.steps else None
    return adam(rates, schedule, encoder_or_rest, frozen_steps=frozen)


def student_optimizer(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with the rate learning_rate * (1 - step / steps) ** 0.9, for students of the data selection.

    `steps` is part of the optimizer's state, so that `update` is compiled once for trainings of any length.
    """

    def make(steps):
        return optax.chain(
            optax.scale_by_adam(),
            optax.scale_by_learning_rate(lambda step: learning_rate * jnp.maximum(1 - step / steps, 0.0) ** 0.9),
        )

    return optax.inject_hyperparams(make)(steps=float(steps))


def segmentation_optimizer(config) -> optax.GradientTransformation:
    """Returns the optimizer of `train`, from `config.segmentation`."""
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
