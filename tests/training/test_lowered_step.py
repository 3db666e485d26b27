"""The program of the multi-task step has no scatters, which the warp could cause, and no transfers to the host.

It is searched before a backend replaces them: some turn a scatter into a loop.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.depth.warping import warp
from sdeseg_jax.training.replication import AXIS
from tests.training.steps import make_training

HOST_TRANSFER = re.compile(r" (infeed|outfeed|send|recv|send-done|recv-done)\(|custom_call_target=\"[^\"]*callback")
SCATTER = re.compile(r" (select-and-)?scatter\(")


def hlo(function, *arguments):
    return function.lower(*arguments).as_text(dialect="hlo")


@pytest.fixture(scope="module")
def text(config, multitask_network, multitask_variables, ssl_batches):
    """HLO of the whole step (SDE, DepthMix, teacher, augmentation, SGD) on one device."""
    step, state = make_training(config, multitask_network, multitask_variables, optimizer="sgd")
    mapped = jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=(None, None), devices=jax.local_devices()[:1])
    return hlo(mapped, state, jax.tree.map(lambda x: np.asarray(x)[None], ssl_batches(0)))


def test_no_scatter(text):
    assert "HloModule" in text and " gather(" in text
    assert not SCATTER.search(text)


def test_no_transfer_to_the_host(text):
    assert not HOST_TRANSFER.search(text)


def test_the_search_finds_what_it_looks_for():
    """A gradient into the warped image would be a scatter, a debug print a callback."""
    image, index = jnp.ones((8, 3)), jnp.arange(4)
    assert SCATTER.search(hlo(jax.jit(jax.grad(lambda image, index: jnp.sum(image[index] ** 2))), image, index))
    assert HOST_TRANSFER.search(hlo(jax.jit(lambda x: jax.debug.callback(print, x)), image))


def test_no_gradient_into_the_source():
    arguments = (jnp.ones((1, 4, 8, 3)), jnp.ones((1, 4, 8, 1)), jnp.eye(4)[None], jnp.eye(3)[None])
    gradient = jax.grad(lambda *args: jnp.sum(warp(*args)))(*arguments)
    np.testing.assert_array_equal(gradient, 0)
