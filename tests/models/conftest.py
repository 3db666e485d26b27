"""Variables for small networks without compiling the random initialisers, which takes longer than any test."""

import functools

import jax
import numpy as np
import pytest


@functools.cache
def _random_variables(network, image_shape: tuple[int, ...]):
    init = functools.partial(network.init, method="init_all")
    shapes = jax.eval_shape(init, jax.random.key(0), np.zeros(image_shape, np.float32))
    random = np.random.default_rng(0)

    def make(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        if name == "kernel":
            scale = np.prod(leaf.shape[:-1]) ** -0.5
            return (scale * random.standard_normal(leaf.shape)).astype(np.float32)
        return (0.05 * random.standard_normal(leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(make, shapes)


@pytest.fixture
def random_variables():
    """random_variables(network, image_shape) → {'params', 'batch_stats'}; the same objects at every call."""
    return _random_variables
