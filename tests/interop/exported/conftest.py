"""A small multi-task network as the function that is exported."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.inference.trained_model import most_probable_labels
from sdeseg_jax.models.network import build_network
from sdeseg_jax.models.resize import resize_bilinear_align_corners

SIZE = (32, 64)
CLASSES = 5


def _made_up(path, leaf):
    """Weights that keep the size of features: outputs differ from pixel to pixel."""
    rng = np.random.default_rng(zlib.crc32(jax.tree_util.keystr(path).encode()))
    numbers = rng.standard_normal(leaf.shape).astype(np.float32)
    if path[-1].key in ("var", "scale"):
        return 1 + 0.1 * np.abs(numbers)
    return numbers / np.sqrt(np.prod(leaf.shape[:-1])) if path[-1].key == "kernel" else 0.1 * numbers


@pytest.fixture(scope="session")
def small_network():
    """(variables, function of images -> label, confidence, disparity) with ASPP and PAD."""
    model = {"backbone": "resnet10", "width": 0.125, "decoder_channels": (4, 4, 8, 8, 8)}
    network = build_network(model, num_classes=CLASSES, depth=True, distillation=True)
    shapes = jax.eval_shape(lambda key: network.init(key, jnp.zeros((1, *SIZE, 3)), False), jax.random.key(0))
    variables = jax.tree_util.tree_map_with_path(_made_up, shapes)

    def function(images):
        images = images.astype(jnp.float32) / 255
        # Applied for each task, as `TrainedModel.predict` does.
        logits = resize_bilinear_align_corners(network.apply(variables, images, train=False).logits, SIZE)
        disparity = network.apply(variables, images, train=False).disparities[0]
        return most_probable_labels(
            {"probabilities": jax.nn.softmax(logits), "disparity": jax.lax.squeeze(disparity, [3])}
        )

    return variables, function
