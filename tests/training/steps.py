"""Steps of `train` on some of the devices, for tests."""

import jax
import numpy as np

from sdeseg_jax.config import uses_pool
from sdeseg_jax.training.optimizers_and_schedules import segmentation_optimizer
from sdeseg_jax.training.replication import AXIS
from sdeseg_jax.training.segmentation_objective import make_segmentation_objective
from sdeseg_jax.training.train_state import create_state
from sdeseg_jax.training.train_step import make_step

WEIGHTS = np.linspace(0.5, 2, 19, dtype=np.float32)
"""Class weights."""


def replicate_over(step, devices):
    """Like `replicate`, but over the first `devices` devices; takes optional class weights [C]."""
    mapped = jax.pmap(
        step, axis_name=AXIS, in_axes=(None, 0), out_axes=(None, None), devices=jax.local_devices()[:devices]
    )
    split = lambda x: np.asarray(x).reshape(devices, -1, *np.shape(x)[1:])  # noqa: E731

    def run(state, batch, class_weights=None):
        shared = {} if class_weights is None else {"class_weights": np.tile(class_weights, devices)}
        # From the host: pmap would compile again for a state on other devices than the one before it.
        return mapped(jax.device_get(state), jax.tree.map(split, batch | shared))

    return run


def make_training(config, network, variables, **overrides):
    config = config.copy_and_resolve_references()
    config.segmentation.update(overrides)
    options = config.segmentation
    optimizer = segmentation_optimizer(options)
    decay = options.teacher_decay if uses_pool(options) else None
    step = make_step(make_segmentation_objective(network, config), optimizer, 0, decay)
    return step, create_state(variables, optimizer, uses_pool(options))


def make_whole_training(config, network, variables):
    """Returns step and state with SDE, mixed images, teacher and strong augmentation: everything that uses all devices.

    SGD, because Adam divides tiny gradients by their own size and would amplify rounding. Stored disparity, because
    rounding of the student's own disparity sometimes changes a pixel of the mix.
    """
    options = {"optimizer": "sgd", "strong_augmentation": True, "mix_disparity": "precomputed"}
    return make_training(config, network, variables, learning_rate=1e-2, **options)


def relative_difference(a, b):
    """Largest deviation of any leaf, relative to its largest value."""
    pairs = zip(jax.tree.leaves(jax.device_get(a)), jax.tree.leaves(jax.device_get(b)), strict=True)
    return max(float(np.abs(x - y).max() / (np.abs(y).max() + 1e-3)) for x, y in pairs if np.size(x))
