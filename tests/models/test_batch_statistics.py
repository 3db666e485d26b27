"""BatchNorm needs two values behind every statistic: what the pooled branch of the ASPP does with one, and with two."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.models.layers import ConvNorm
from sdeseg_jax.models.network import Network
from sdeseg_jax.training.replication import AXIS, smallest_batch

CHANNELS, FEATURES = 8, 6


def pooled_branch(images: int, devices: int = 1, steps: int = 60):
    """Trains the statistics of the branch that `ASPP.pooled` is on random images, `images` per device.

    Returns:
      Its outputs for the last step's images in training and in inference, [N, features], and the gradient of the former
      with respect to its convolution.
    """
    branch = ConvNorm(FEATURES, relu=False, axis_name=AXIS)
    variables = ConvNorm(FEATURES).init(jax.random.key(0), jnp.zeros((1, 1, 1, CHANNELS)), False)
    batches = jax.random.normal(jax.random.key(1), (steps, devices, images, 1, 1, CHANNELS))

    def train(params, stats, x):
        out, updated = branch.apply({"params": params, "batch_stats": stats}, x, True, mutable=["batch_stats"])
        return jnp.sum(out**3), (updated["batch_stats"], out)

    on_devices = jax.vmap(jax.grad(train, has_aux=True), (None, None, 0), axis_name=AXIS)

    def step(stats, x):
        gradient, (updated, out) = on_devices(variables["params"], stats, x)
        return jax.tree.map(lambda one: one[0], updated), (gradient, out)

    stats, (gradients, trained) = jax.jit(lambda stats: jax.lax.scan(step, stats, batches))(variables["batch_stats"])
    inferred = branch.apply(
        {"params": variables["params"], "batch_stats": stats}, batches[-1].reshape(-1, 1, 1, CHANNELS), False
    )
    gradient = gradients["conv"]["kernel"][-1]
    return np.asarray(trained[-1]).reshape(-1, FEATURES), np.asarray(inferred).reshape(-1, FEATURES), gradient


def test_of_one_image_the_pooled_branch_learns_nothing_and_explodes_in_inference():
    trained, inferred, gradient = pooled_branch(images=1)
    np.testing.assert_array_equal(trained, 0)  # whatever the image is
    assert not gradient.any() and np.abs(inferred).max() > 20


@pytest.mark.parametrize("images, devices", [(smallest_batch(1, True), 1), (smallest_batch(2, True) // 2, 2), (8, 1)])
def test_of_two_images_inference_agrees_with_training(images, devices):
    trained, inferred, _ = pooled_branch(images, devices)
    # The variance of two values is half that of all images on average, so inference spreads by up to √2.
    assert trained.std() > 0.5 and 0.5 < inferred.std() < 2.5 and np.abs(inferred).max() < 8
    assert np.corrcoef(trained.ravel(), inferred.ravel())[0, 1] > 0.6


def test_two_devices_with_an_image_each_count_as_two_images():
    together, apart = pooled_branch(images=2)[0], pooled_branch(images=1, devices=2)[0]
    np.testing.assert_allclose(together, apart, atol=2e-4)


@pytest.mark.parametrize(
    "parts",
    [
        {"segmentation": False, "pose": True},
        {"distillation": True, "pose": True},
        {"depth": False, "segmentation_head": "projection"},
        {"depth": False, "segmentation_head": "half_resolution", "decoder_norm": True},
    ],
)
def test_every_network_has_a_statistic_of_one_value_per_image(parts):
    """The premise of `smallest_batch`: images are counted, because the fewest values behind a statistic are as many."""
    network = Network("resnet10", 0.125, decoder_channels=(4,) * 5, pose_width=0.125, num_classes=3, **parts)

    def outputs(key, images):
        keep = lambda module, _: isinstance(module, nn.BatchNorm)  # noqa: E731
        variables = network.init(key, images, method="init_all", capture_intermediates=keep, mutable=True)
        return variables["intermediates"]

    images = jax.ShapeDtypeStruct((3, 64, 96, 3), jnp.float32)
    shapes = [one.shape for one in jax.tree.leaves(jax.eval_shape(outputs, jax.random.key(0), images))]
    assert min(np.prod(shape[:3]) for shape in shapes) == 3


@pytest.mark.parametrize(
    "devices, synchronized, smallest", [(1, True, 2), (1, False, 2), (2, True, 2), (2, False, 4), (8, True, 8)]
)
def test_smallest_batch(devices, synchronized, smallest):
    assert smallest_batch(devices, synchronized) == smallest
