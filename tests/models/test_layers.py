"""Resizing, pooling and the residual network against plain formulations."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.models.encoders.resnet import ResNet, max_pool
from sdeseg_jax.models.layers import Conv
from sdeseg_jax.models.pad_distillation import Distillation
from sdeseg_jax.models.resize import resize_bilinear, resize_bilinear_align_corners, upsample_nearest


def test_nearest_upsampling_repeats_pixels():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(upsample_nearest(x), x.repeat(2, axis=1).repeat(2, axis=2))


def test_align_corners_is_linear_interpolation_between_the_corners():
    x = np.random.default_rng(0).normal(size=(1, 4, 5, 2)).astype(np.float32)
    y = np.asarray(resize_bilinear_align_corners(x, (7, 9)))
    np.testing.assert_allclose(y[:, [0, -1]][:, :, [0, -1]], x[:, [0, -1]][:, :, [0, -1]], rtol=1e-6)
    columns = np.stack([np.interp(np.linspace(0, 4, 9), np.arange(5), row) for row in x[0, :, :, 1]])
    expected = np.stack([np.interp(np.linspace(0, 3, 7), np.arange(4), column) for column in columns.T], axis=1)
    np.testing.assert_allclose(y[0, :, :, 1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (4, 5)])
def test_align_corners_to_one_pixel_and_to_the_same_size(size):
    x = jnp.arange(20.0).reshape(1, 4, 5, 1)
    np.testing.assert_array_equal(resize_bilinear_align_corners(x, size), x[:, : size[0], : size[1]])


def test_half_pixel_bilinear_weights():
    x = jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(resize_bilinear(x, (1, 4)).ravel(), [0, 0.25, 0.75, 1], atol=1e-6)


@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
def test_max_pool_forward_and_gradient(size):
    x = jax.random.normal(jax.random.key(0), (2, *size, 3))

    def reference(x):
        return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))

    np.testing.assert_array_equal(max_pool(x), reference(x))
    gradients = [jax.grad(lambda x, pool=pool: (pool(x) ** 2).sum())(x) for pool in (max_pool, reference)]
    np.testing.assert_allclose(*gradients, rtol=1e-6)


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_feature_strides(backbone, stride):
    network = ResNet(backbone, 0.125, stride)
    images = jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)
    features, _ = jax.eval_shape(lambda rng, x: network.init_with_output(rng, x, False), jax.random.key(0), images)
    strides = [min(s, stride) for s in (2, 4, 8, 16, 32)]
    assert [f.shape[1:3] for f in features] == [(64 // s, 96 // s) for s in strides]
    widths = [8, 8, 16, 32, 64] if backbone == "resnet18" else [8, 32, 64, 128, 256]
    assert [f.shape[-1] for f in features] == widths


def test_first_block_of_a_dilated_stage_keeps_the_dilation_before_it():
    bound = ResNet("resnet50", 0.125, 8).bind({})
    dilations = {name: getattr(bound, name).dilation for _, name in bound.block_names}
    assert [dilations[f"stage{s}_block{b}"] for s, b in ((2, 1), (3, 0), (3, 1), (4, 0), (4, 1))] == [1, 1, 2, 2, 4]


def test_distillation_starts_half_open_and_crosses_tasks():
    depth, segmentation = jax.random.normal(jax.random.key(0), (2, 1, 4, 4, 3))
    module = Distillation()
    variables = module.init(jax.random.key(1), depth, segmentation)
    assert not np.any(variables["params"]["to_depth"]["attention"]["kernel"])
    out, _ = module.apply(variables, depth, segmentation)
    convolution = nn.Conv(3, (3, 3), padding=1, use_bias=False)
    message = convolution.apply({"params": variables["params"]["to_depth"]["conv"]}, segmentation)
    np.testing.assert_allclose(out, depth + 0.5 * message, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_convolution_is_flax_s(stride):
    """The matrix product gives the same result with the same parameters."""
    x = jax.random.normal(jax.random.key(0), (2, 7, 8, 5))
    settings = {"features": 3, "kernel_size": (1, 1), "strides": stride, "padding": ((0, 0), (0, 0))}
    variables = nn.Conv(**settings).init(jax.random.key(1), x)
    np.testing.assert_allclose(Conv(**settings).apply(variables, x), nn.Conv(**settings).apply(variables, x), atol=1e-6)
