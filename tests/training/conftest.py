"""A tiny network and synthetic batches, without any dataset."""

import jax
import numpy as np
import pytest
from sdeseg_jax.configs.streets import get_config

from sdeseg_jax.models.network import build_network
from sdeseg_jax.training.initialization import random_variables
from sdeseg_jax.training.replication import AXIS

SIZE = (32, 64)


def tiny_config():
    """The tiny Streets config."""
    return get_config("size=tiny,multitask=true")


def make_multitask_network(config):
    return build_network(config.model, distillation=True, pose=True, axis_name=AXIS)


@pytest.fixture(scope="session")
def config():
    return tiny_config()


@pytest.fixture(scope="session")
def depth_network(config):
    return build_network(config.model, segmentation=False, pose=True, axis_name=AXIS)


@pytest.fixture(scope="session")
def multitask_network(config):
    return make_multitask_network(config)


@pytest.fixture(scope="session")
def multitask_variables(multitask_network):
    return random_variables(multitask_network, 0, SIZE)


def frames(samples, seed=0, **extra):
    """A batch of random video frames [samples, 32, 64, 3] with smooth content."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(size=(3, samples, 8, 16, 3)).astype(np.float32)
    images = np.asarray(jax.image.resize(coarse, (3, samples, *SIZE, 3), "bilinear"))
    intrinsics = np.broadcast_to(np.array([[40.0, 0, 31.5], [0, 40, 15.5], [0, 0, 1]], np.float32), (samples, 3, 3))
    return {
        "prev_image": images[0],
        "image": images[1],
        "next_image": images[2],
        "intrinsics": np.array(intrinsics),
        "label": rng.integers(0, 19, (samples, *SIZE)).astype(np.uint8),
        **extra,
    }


def make_ssl_batches(step, samples=4):
    """Batches of labelled and pool samples; some pixels void, some pool samples labelled."""
    labeled, pool = frames(samples, seed=2 * step), frames(samples, seed=2 * step + 1)
    labeled["label"][0, :20] = 255  # the share of void differs between devices
    pool["is_labeled"] = np.arange(samples) % 4 == 1
    pool["disparity"] = np.random.default_rng(step).uniform(size=(samples, *SIZE, 1)).astype(np.float32)
    return {"labeled": labeled, "pool": pool}


@pytest.fixture(scope="session")
def ssl_batches():
    """step -> batches of 4 labelled and 4 pool samples."""
    return make_ssl_batches
