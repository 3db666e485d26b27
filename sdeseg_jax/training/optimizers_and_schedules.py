"""Optimizers and schedules of the paper (Sec. 4.3), with a learning rate per part of the network."""

import re
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

POWER = 0.9
"""Of polynomial schedules, in the whole field."""


def learning_rate_schedule(kind: str, steps: int, decay_steps=(), decay_factor: float = 0.1) -> optax.Schedule:
    """Returns a schedule of a factor on the learning rates, 1 at the start.

    Args:
      kind: "step" (times `decay_factor` at each of `decay_steps`), "cosine" or "poly" (power 0.9), to zero at `steps`.
    """
    if kind == "cosine":
        return optax.cosine_decay_schedule(1.0, steps)
    if kind == "poly":
        return optax.polynomial_schedule(1.0, 0.0, POWER, steps)
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


def adamw(
    rates: Mapping[str, float],
    schedule: optax.Schedule,
    part_of: Callable[[tuple[str, ...]], str],
    weight_decay: float = 0.01,
    clip_norm: float = 0.0,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay on all parameters (Loshchilov & Hutter 2019), for Vision Transformers."""
    return optax.chain(
        _clip(clip_norm),
        optax.scale_by_adam(),
        optax.add_decayed_weights(weight_decay),
        _scale_by_part(rates, schedule, part_of),
    )


def scale_by_layer(decay: float) -> optax.GradientTransformation:
    """Multiplies updates of the encoder's layers by powers of `decay`, the last one's by 1 (layer-wise decay).

    Layers are the blocks of Vision Transformers and EfficientNets, and the stages of ResNets. What is before them is
    layer 0. Other parts of the network keep their updates.
    """

    def scale(updates, params):
        numbers = label_parts(params, layer_of)
        last = max(number or 0 for number in jax.tree.leaves(numbers, is_leaf=lambda x: x is None))
        factors = jax.tree.map(
            lambda number: 1.0 if number is None else decay ** (last - number), numbers, is_leaf=lambda x: x is None
        )
        return jax.tree.map(lambda update, factor: factor * update, updates, factors)

    return optax.stateless(scale)


def layer_of(path: tuple[str, ...]) -> int | None:
    """Returns the number of a parameter's layer in the encoder; None for other parts and what follows the layers."""
    if path[0] != "encoder" or path[1] == "reassembly" or path[1:3] == ("transformer", "norm"):
        return None
    found = (re.match(r"(block|stage)(\d+)", name) for name in path[1:])
    return next((int(match[2]) + (match[1] == "block") for match in found if match), 0)


def is_reassembly(path: tuple[str, ...]) -> bool:
    """Whether a parameter is of the linear maps behind a Vision Transformer, which no published weights have."""
    return path[:2] == ("encoder", "reassembly")


def encoder_or_rest(path: tuple[str, ...]) -> str:
    """Returns a parameter's part in a depth training: the encoder, or everything else."""
    return "encoder" if path[0] == "encoder" and not is_reassembly(path) else "rest"


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
            optax.scale_by_learning_rate(lambda step: learning_rate * jnp.maximum(1 - step / steps, 0.0) ** POWER),
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
    if config.freeze_encoder:  # not always: it is part of the optimizer's state, which older checkpoints lack
        rates["frozen"] = 0.0

    def part_of(path):
        if config.freeze_encoder and encoder_or_rest(path) == "encoder":
            return "frozen"
        if is_reassembly(path):  # published weights lack it
            return "pretrained" if config.init_encoder == "depth" else "scratch"
        return pretrained_pose_or_scratch(path)

    if config.optimizer == "adam":
        optimizer = adam(rates, schedule, part_of, config.clip_norm)
    elif config.optimizer == "adamw":
        optimizer = adamw(rates, schedule, part_of, config.weight_decay, config.clip_norm)
    else:
        optimizer = sgd(rates, schedule, part_of, config.momentum, config.weight_decay, config.clip_norm)
    return optimizer if config.layer_decay == 1 else optax.chain(optimizer, scale_by_layer(config.layer_decay))
