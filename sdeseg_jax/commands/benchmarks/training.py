"""The measured training: config, network, step and state of a size."""

import argparse
import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sdeseg_jax.commands.benchmarks.synthetic import CLASSES

CONFIGS = {
    "least": ("streets", "size=tiny,mix=supervised"),
    "tiny": ("streets", "size=tiny,multitask=true"),
    "small": ("streets", "multitask=true"),
    "full": ("cityscapes", None),
}
"""Size -> file of configs/ and its arguments. "tiny" is for tests; "least" is the smallest step, of a baseline."""


def resolve(arguments) -> argparse.Namespace:
    """Fills in defaults: size and dtype depend on the machine, the batch size comes from the config."""
    resolved = argparse.Namespace(**vars(arguments))
    cpu = jax.default_backend() == "cpu"
    resolved.size = resolved.size or ("small" if cpu else "full")
    resolved.dtype = resolved.dtype or ("float32" if cpu else "bfloat16")
    resolved.batch = sorted(resolved.batch or [config_of(resolved).segmentation.batch_size])
    return resolved


def config_of(arguments):
    """Returns the config of `arguments.size` with their dtype and rematerialisation."""
    file, argument = CONFIGS[arguments.size]
    config = importlib.import_module(f"sdeseg_jax.configs.{file}").get_config(argument)
    config.model.dtype, config.model.remat = arguments.dtype, arguments.remat
    return config


@dataclasses.dataclass(frozen=True)
class Training:
    """A training as job `train` builds it.

    Attributes:
      step: of one device, `(state, batches) -> (state, metrics)`.
      shapes: of the state, not allocated.
    """

    config: Any
    network: Any
    optimizer: optax.GradientTransformation
    step: Callable
    shapes: Any


def make_training(config) -> Training:
    """Builds network, optimizer and step of a config."""
    # Imported here: benchmarks of depth alone do not need dm_pix.
    from sdeseg_jax.config import uses_pool
    from sdeseg_jax.models.network import build_network
    from sdeseg_jax.training.optimizers_and_schedules import segmentation_optimizer
    from sdeseg_jax.training.replication import AXIS
    from sdeseg_jax.training.segmentation_objective import make_segmentation_objective
    from sdeseg_jax.training.train_state import create_state
    from sdeseg_jax.training.train_step import make_step

    options = config.segmentation
    tasks = dict.fromkeys(("depth", "distillation", "pose"), options.multitask)
    network = build_network(config.model, num_classes=CLASSES, axis_name=AXIS, **tasks)
    optimizer = segmentation_optimizer(options)
    objective = make_segmentation_objective(network, config)

    def initialize(key):
        images = jnp.zeros((1, *config.data.crop, 3))
        variables = network.init({"params": key, "dropout": key}, images, method="init_all")
        return create_state(dict(variables), optimizer, uses_pool(options))

    decay = options.teacher_decay if uses_pool(options) else None
    step = make_step(objective, optimizer, config.seed, decay)
    return Training(config, network, optimizer, step, jax.eval_shape(initialize, jax.random.key(0)))


def make_state(shapes):
    """Makes a state of random weights on the host, since compiling the network's initialisation takes long.

    Args:
      shapes: of a `TrainState`.

    Returns:
      NumPy arrays in these shapes, at step 0; student and teacher have the same weights.
    """
    rng = np.random.default_rng(0)

    def one(path, leaf):
        name = str(getattr(path[-1], "key", ""))
        if name == "kernel":
            fan_in = np.prod(leaf.shape[:-1])
            return rng.standard_normal(leaf.shape, np.float32) * np.float32(fan_in**-0.5)
        return np.full(leaf.shape, name in ("scale", "var"), leaf.dtype)

    weights = jax.tree_util.tree_map_with_path(one, {"params": shapes.params, "batch_stats": shapes.batch_stats})
    teacher = jax.tree.map(np.array, weights if shapes.teacher_params else {"params": {}, "batch_stats": {}})
    return shapes.replace(
        step=np.zeros((), np.int32),
        opt_state=jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes.opt_state),
        teacher_params=teacher["params"],  # copies: donation forbids sharing buffers
        teacher_batch_stats=teacher["batch_stats"],
        **weights,
    )


def over_devices(function: Callable, devices: int, donate: bool = False) -> Callable:
    """Maps `function(shared, batch) -> outputs, equal on all devices` as training does (`replication.replicate`).

    Unlike `replicate`, it takes the number of devices, accepts batches [devices, B, ...] that are already on them, and
    returns a function that can be lowered.
    """
    from sdeseg_jax.training.replication import AXIS, to_float

    return jax.pmap(
        lambda shared, batch: function(shared, to_float(batch)),
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=None,
        devices=jax.local_devices()[:devices],
        donate_argnums=(0,) if donate else (),
    )


def put(shared, batch, devices: int):
    """Puts shared arrays on each of the first devices and splits a batch [devices, B, ...] over them."""
    from sdeseg_jax.training.replication import AXIS

    mesh = jax.sharding.Mesh(np.array(jax.local_devices()[:devices]), (AXIS,))
    specs = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(AXIS)
    return tuple(
        jax.device_put(tree, jax.sharding.NamedSharding(mesh, spec))
        for tree, spec in zip((shared, batch), specs, strict=True)
    )


def shapes_of(tree):
    """Returns the tree with shapes and dtypes in place of arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
