"""Exported networks in software that converts or runs them: TensorFlow Lite, OpenCV's DNN module."""

import jax
import numpy as np
import onnx
import pytest

from sdeseg_jax.interop.exported.exported_files import save

SIZE = (32, 64)
METADATA = {
    "image_size": list(SIZE),
    "classes": {"protocol": "own", "names": list("abcde"), "colors": [[0, 0, one] for one in range(5)]},
}


@pytest.fixture(scope="module")
def wanted(small_network):
    """Images, and what the network says about them."""
    images = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), np.uint8)
    outputs = jax.device_get(jax.jit(small_network[1])(images))
    assert all(np.std(values) > 1e-3 for values in outputs.values())
    return images, outputs


@pytest.fixture(scope="module")
def onnx_file(small_network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    save("onnx", small_network[1], METADATA, folder)
    return folder / "model.onnx"


def check(found, wanted, count):
    np.testing.assert_array_equal(found["label"].reshape(-1, *SIZE), wanted["label"][:count])
    for name in ("confidence", "disparity"):
        np.testing.assert_allclose(found[name].reshape(-1, *SIZE), wanted[name][:count], atol=1e-5)


def test_saved_model_becomes_tensorflow_lite(small_network, wanted, tmp_path):
    tf = pytest.importorskip("tensorflow")
    if not hasattr(tf.lite, "Interpreter"):
        pytest.skip("this TensorFlow has no interpreter of TensorFlow Lite")
    save("saved_model", small_network[1], METADATA, tmp_path)
    content = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path)).convert()
    images, outputs = wanted
    for batch in (1, 3):
        interpreter = tf.lite.Interpreter(model_content=content)
        interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (batch, *SIZE, 3))
        found = interpreter.get_signature_runner("serving_default")(images=images[:batch])
        check(found, outputs, batch)


def test_every_convolution_of_the_network_is_one_in_the_onnx_graph(small_network, onnx_file):
    """Once each, although the network is applied for both tasks; no 1×1 kernel became a matrix product."""
    variables, _ = small_network
    nodes = onnx.load(onnx_file).graph.node
    not_exported = ("scale1", "scale2", "scale3", "intermediate_classifier")
    kernels = [
        path
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"])
        if leaf.ndim == 4 and not any(part.key in not_exported for part in path)
    ]
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert len(convolutions) == len({node.input[1] for node in convolutions}) == len(kernels)
    assert not [node for node in nodes if node.op_type == "MatMul"]


@pytest.mark.parametrize("batch", [1, 2])
def test_opencv_runs_the_onnx_file(wanted, onnx_file, batch):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: pip install opencv-python-headless")
    images, outputs = wanted
    network = cv2.dnn.readNetFromONNX(str(onnx_file))
    network.setInput(images[:batch], "images")
    names = list(outputs)
    check(dict(zip(names, network.forward(names), strict=True)), outputs, batch)
