"""The published networks with made-up weights: every tensor is a function of its key, so no weight file is needed."""

import functools
import json
import math
import pathlib
import zlib

import jax
import numpy as np
import pytest

from sdeseg_jax.models import Network

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
NETWORKS = {
    "sde": {"segmentation": False, "pose": True},
    "mtl": {"distillation": True, "pose": True},
    "transfer": {"depth": False, "segmentation_head": "projection"},
    "selection": {
        "backbone": "resnet50",
        "decoder_channels": (64, 64, 128, 128, 256),
        "decoder_norm": True,
        "segmentation_head": "half_resolution",
    },
}


def make_tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The recipe of the reference files; convolutions are [out, in, height, width]."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    z = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    if key.endswith("running_var"):
        return (1 + 0.1 * np.abs(z)).astype(np.float32)
    if key.endswith("running_mean"):
        return (0.1 * z).astype(np.float32)
    if len(shape) == 4:
        return (z * math.sqrt(1 / math.prod(shape[1:]))).astype(np.float32)
    return ((0.5 + 0.1 * z) if key.endswith(".weight") else 0.05 * z).astype(np.float32)


def state_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a published network: 'sde', 'mtl', 'transfer' or 'selection'."""
    shapes = json.loads((GOLDEN / "state_dict_keys.json").read_text())[name]
    return {key: tuple(shape) for key, shape in shapes.items()}


@functools.cache
def template(name: str):
    """The network and the shapes of its variables."""
    network = Network(**NETWORKS[name])
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    return network, jax.eval_shape(functools.partial(network.init, method="init_all"), jax.random.key(0), images)


@pytest.fixture
def published():
    """The helpers above, for tests that import nothing by path."""

    class Published:
        names = tuple(NETWORKS)
        tensor = staticmethod(make_tensor)
        shapes = staticmethod(state_shapes)
        network = staticmethod(template)
        golden = GOLDEN

    return Published
