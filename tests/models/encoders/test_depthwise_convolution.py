"""Depthwise convolution by shifts, against the library's, with its gradients."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.models.encoders import depthwise_convolution as module
from sdeseg_jax.models.encoders.depthwise_convolution import depthwise_convolution, same_padding
from sdeseg_jax.models.layers import keep_convolutions

CASES = [(size, kernel, 1, dilation) for size in (8, 9) for kernel in (3, 5) for dilation in (1, 2, 4)]
CASES += [(size, kernel, 2, 1) for size in (8, 9) for kernel in (3, 5)]


def example(size, kernel, channels=3):
    images = jax.random.normal(jax.random.key(0), (2, size, size + 3, channels))
    return images, jax.random.normal(jax.random.key(1), (kernel, kernel, 1, channels))


@pytest.mark.parametrize("size, kernel, stride, dilation", CASES)
def test_values_and_gradients_are_the_library_s(size, kernel, stride, dilation):
    arrays = example(size, kernel)
    padding = [same_padding(side, kernel, stride, dilation) for side in arrays[0].shape[1:3]]
    library = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(stride, stride),
        padding=padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=3,
    )

    def loss(convolve, *arrays):
        return jnp.sum(jnp.sin(convolve(*arrays)))

    ours = functools.partial(depthwise_convolution, stride=stride, dilation=dilation)
    expected, wanted = jax.jit(jax.value_and_grad(functools.partial(loss, library), (0, 1)))(*arrays)
    found, gradients = jax.jit(jax.value_and_grad(functools.partial(loss, ours), (0, 1)))(*arrays)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    for one, other in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_padding_is_tensorflow_s():
    assert [same_padding(size, 3, 2) for size in (7, 8)] == [(1, 1), (0, 1)]
    assert [same_padding(size, 5, 2) for size in (7, 8)] == [(2, 2), (1, 2)]
    assert same_padding(8, 5, 1, 2) == (4, 4) and same_padding(1, 3, 2) == (1, 1)


def test_exports_keep_the_convolution():
    arrays = example(8, 3)
    with keep_convolutions():
        kept = str(jax.make_jaxpr(lambda *arrays: depthwise_convolution(*arrays))(*arrays))  # JAX caches by function
    assert "conv_general_dilated" in kept and "platform_index" not in kept


@pytest.mark.parametrize("platform, convolutions", [("cpu", 0), ("tpu", 1), ("cuda", 1)])
def test_only_cpus_shift_and_add(platform, convolutions):
    lowered = (
        jax.jit(lambda *arrays: depthwise_convolution(*arrays))
        .trace(*example(8, 3))
        .lower(lowering_platforms=(platform,))
    )
    assert lowered.as_text().count("stablehlo.convolution") == convolutions


def test_exported_for_any_batch():
    """Files that are exported for several platforms hold both ways."""
    _, kernel = example(8, 3)
    (batch,) = jax.export.symbolic_shape("batch")
    exported = jax.export.export(
        jax.jit(lambda images: depthwise_convolution(images, kernel)), platforms=("cpu", "tpu")
    )
    program = exported(jax.ShapeDtypeStruct((batch, 8, 11, 3), jnp.float32))
    images = jax.random.normal(jax.random.key(2), (5, 8, 11, 3))
    np.testing.assert_allclose(program.call(images), depthwise_convolution(images, kernel), atol=1e-6)


def test_several_batches_at_once():
    """As `Forward.together` maps a network over batches."""
    images, kernel = example(8, 3)

    def gradient(images):
        return jax.grad(lambda one: jnp.sum(jnp.sin(depthwise_convolution(one, kernel, 2))))(images)

    np.testing.assert_allclose(
        jax.vmap(gradient)(jnp.stack([images, 2 * images])),
        jnp.stack([gradient(images), gradient(2 * images)]),
        atol=1e-5,
    )


def test_half_precision_sums_the_kernel_s_gradient_in_single():
    images, kernel = (jnp.ones(shape, jnp.bfloat16) for shape in ((4, 64, 64, 1), (3, 3, 1, 1)))
    gradient = jax.grad(lambda kernel: jnp.sum(depthwise_convolution(images, kernel).astype(jnp.float32)))(kernel)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(gradient[1, 1, 0, 0].astype(np.float32), 4 * 64 * 64, rtol=1e-2)


def test_stride_and_dilation_together_are_refused():
    with pytest.raises(ValueError, match="stride=2 and dilation=2: one of them must be 1"):
        depthwise_convolution(*example(8, 3), stride=2, dilation=2)


def test_gradient_against_finite_differences():
    images, kernel = example(5, 3, channels=1)
    loss = jax.jit(lambda kernel: jnp.sum(jnp.sin(module.depthwise_convolution(images, kernel, 2))))
    gradient, step = jax.grad(loss)(kernel), 1e-2
    for place in ((0, 0, 0, 0), (1, 2, 0, 0), (2, 1, 0, 0)):
        move = jnp.zeros_like(kernel).at[place].set(step)
        np.testing.assert_allclose(gradient[place], (loss(kernel + move) - loss(kernel - move)) / 2 / step, atol=1e-2)
