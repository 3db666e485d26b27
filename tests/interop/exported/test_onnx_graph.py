"""Converted functions compute the same in ONNX Runtime as in JAX, for batches of any size."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from sdeseg_jax.inference.sliding_window import Inference, class_probabilities, window_starts
from sdeseg_jax.interop.exported.onnx_graph import BATCH, to_onnx
from sdeseg_jax.interop.exported.onnx_primitives import UnsupportedError
from sdeseg_jax.models.network import build_network


def both(function, x):
    """Returns the results of ONNX Runtime and of JAX for a function of one array."""
    *_, last = compare(function, x, len(x))
    return last


def compare(function, x, *batches):
    """Yields the results of ONNX Runtime and of JAX for a function of one array, for batches of several sizes."""
    model = to_onnx(function, "x", x.shape[1:], x.dtype)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [BATCH, *x.shape[1:]]
    names = [output.name for output in session.get_outputs()]
    for size in batches:
        found = dict(zip(names, session.run(None, {"x": x[:size]}), strict=True))
        yield found, jax.device_get(jax.jit(function)(x[:size]))


MATRIX = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
FUNCTIONS = {
    "arithmetic": lambda x: (2 * x + x**2 - 1 / (3 + x)) / jnp.sqrt(1 + x**2),
    "activations": lambda x: jax.nn.elu(x) + jax.nn.sigmoid(x) + jnp.tanh(x) + jax.nn.relu(x),
    "error functions": lambda x: jax.lax.erf(x) + jax.lax.erfc(x) ** 2 + jax.nn.gelu(x, approximate=False),
    "comparisons": lambda x: jnp.where((x > 0) & (x != 1) | (x <= -1), x, jnp.clip(x, -0.5, 0.5)),
    "softmax": lambda x: jax.nn.softmax(x, axis=-1),
    "reductions": lambda x: jnp.max(x, axis=2) - jnp.min(x, axis=2) + jnp.mean(x, axis=2),
    "product with a matrix": lambda x: x @ MATRIX.T,
    "product from the left": lambda x: jnp.einsum("oh,bhwc->bowc", MATRIX[:, :2] @ np.ones((2, 6), np.float32), x),
    "product of two axes": lambda x: jnp.einsum("bhwc,bhwd->bcd", x, x + 1),
    "batched product": lambda x: jnp.einsum("bhwc,bhvc->bhwv", x, x),
    "padding": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), constant_values=7.0),
    "reflection": lambda x: jnp.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0)), mode="reflect"),
    "mirroring": lambda x: jnp.flip(x, axis=2),
    "strides": lambda x: jax.lax.slice_in_dim(x, 0, None, 2, axis=1),
    "broadcasting a constant": lambda x: jnp.concatenate([x, jnp.ones((x.shape[0], 6, 4, 2))], axis=-1),
    "repeating": lambda x: jnp.broadcast_to(x[:, :, None], (x.shape[0], 6, 2, 4, 3)).reshape(x.shape[0], 12, 4, 3),
    "transposing": lambda x: jnp.transpose(x, (0, 3, 1, 2)),
    "resizing": lambda x: jax.image.resize(x, (x.shape[0], 3, 8, 3), "bilinear", antialias=True),
    "argmax": lambda x: jnp.argmax(x, axis=-1).astype(jnp.uint8),
    "constants alone": lambda x: jnp.zeros((x.shape[0], 2)) + jnp.arange(2.0),
    "the batch itself": lambda x: x,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_primitives(name):
    x = np.random.default_rng(0).normal(size=(3, 6, 4, 3)).astype(np.float32)
    for found, wanted in compare(lambda x: {"y": FUNCTIONS[name](x)}, x, 1, 3):
        assert found["y"].dtype == wanted["y"].dtype and found["y"].shape == wanted["y"].shape
        np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stride, dilation, groups", [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 3)])
def test_convolutions(stride, dilation, groups):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 3 // groups, 6)).astype(np.float32)

    def function(x):
        layout, options = ("NHWC", "HWIO", "NHWC"), {"rhs_dilation": (dilation,) * 2, "feature_group_count": groups}
        pads = ((1, 2), (0, 1))
        y = jax.lax.conv_general_dilated(x, kernel, (stride,) * 2, pads, dimension_numbers=layout, **options)
        return {"y": y}

    found, wanted = both(function, rng.normal(size=(2, 9, 11, 3)).astype(np.float32))
    np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "inference", [Inference((64, 96), flip=True), Inference(window=(32, 32))], ids=["resized and mirrored", "windows"]
)
def test_multitask_network_with_all_ways_of_inference(inference):
    model = {"backbone": "resnet10", "width": 0.125, "decoder_channels": (4, 4, 8, 8, 8)}
    network = build_network(model, num_classes=5, depth=True, distillation=True)
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8)
    variables = jax.jit(lambda key: network.init(key, jnp.zeros((1, 32, 64, 3)), False))(jax.random.key(0))

    def function(images):
        images = images.astype(jnp.float32) / 255
        probabilities = class_probabilities(
            lambda inputs: network.apply(variables, inputs, train=False).logits, images, inference
        )
        disparity = network.apply(variables, images, train=False).disparities[0]
        return {"probabilities": probabilities, "disparity": disparity}

    found, wanted = both(function, x)
    for name, values in wanted.items():
        assert np.std(values) > 1e-4
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("window, count", [((96, 160), 1), ((64, 96), 4), ((32, 64), 20), ((32, 32), 40)])
def test_windows_of_any_number(window, count):
    """More than 16 are predicted in a loop."""
    x = np.random.default_rng(0).normal(size=(2, 96, 160, 3)).astype(np.float32)
    matrix = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    assert math.prod(len(window_starts(*sides)) for sides in zip(x.shape[1:3], window, strict=True)) == count

    def predict(images):
        """Depends on the window: on its mean, and on the place in it."""
        places = np.linspace(0, 1, images.shape[1], dtype=np.float32)[:, None, None]
        return (images - jnp.mean(images, axis=(1, 2), keepdims=True) + places) @ matrix

    def function(x):
        return {"y": class_probabilities(predict, x, Inference(window=window))}

    for found, wanted in compare(function, x, 1, 2):
        np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_loops(reverse):
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    numbers = np.arange(20, dtype=np.float32).reshape(5, 4)

    def function(x):
        step = lambda carry, row: (carry * 0.5 + row * x, jnp.sum(carry, axis=1) + row[0])  # noqa: E731
        last, sums = jax.lax.scan(step, x, numbers, reverse=reverse)
        return {"last": last, "sums": jnp.transpose(sums)}

    for found, wanted in compare(function, x, 1, 3):
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-5)


@pytest.mark.parametrize("start", [-9, -2, 0, 1, 2, 9])
def test_parts_at_a_computed_place_lie_within_the_array(start):
    """As in JAX: a negative start counts from the end, and then the part is moved to lie inside."""
    x = np.random.default_rng(0).normal(size=(2, 6, 5)).astype(np.float32)
    part = np.full((1, 3, 2), 7, np.float32)

    def function(x):
        place = (0 * jnp.sum(x)).astype(jnp.int32) + start
        cut = jax.lax.dynamic_slice(x, (0, place, 1), (x.shape[0], 4, 3))
        update = jnp.broadcast_to(part, (x.shape[0], 3, 2))
        return {"cut": cut, "set": jax.lax.dynamic_update_slice(x, update, (0, place, 2))}

    for found, wanted in compare(function, x, 2):
        for name, values in wanted.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_equal_nodes_are_one():
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    model = to_onnx(lambda x: {"y": jnp.tanh(x + 1), "z": jnp.tanh(x + 1) * 2}, "x", (4,), x.dtype)
    assert [node.op_type for node in model.graph.node].count("Tanh") == 1


def test_weights_are_stored_once_and_metadata_travels():
    weights = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32)
    model = to_onnx(
        lambda x: {"y": x @ weights + jnp.flip(x @ weights, axis=1)}, "x", (4, 3), np.float32, {"names": "road"}
    )
    assert [tuple(one.dims) for one in model.graph.initializer].count((3, 40)) == 1
    assert {one.key: one.value for one in model.metadata_props} == {"names": "road"}
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(
    "function, named",
    [
        (lambda x: {"y": jnp.sort(x)}, "'sort'"),
        (lambda x: {"y": jax.lax.while_loop(lambda y: jnp.max(y) < 9, lambda y: y * y, x)}, "'while'"),
        (lambda x: {"y": jax.lax.scan(lambda carry, _: (carry * x, 0), x, None, length=3)[0]}, "reads nothing"),
        (lambda x: {"y": jax.lax.slice_in_dim(x, 1, None, axis=0)}, "slicing the batch"),
    ],
)
def test_what_cannot_be_converted_is_named(function, named):
    with pytest.raises(UnsupportedError, match=named):
        to_onnx(function, "x", (4,), np.float32)
