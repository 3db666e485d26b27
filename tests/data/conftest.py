"""A small Streets dataset, generated once per test session."""

import pytest

from sdeseg_jax.data.datasets import open_split

OPTIONS = {"height": 32, "width": 64, "train_scenes": 4, "val_scenes": 2, "frames_per_clip": 5, "processes": 1}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="session")
def train_split(data_dir):
    return open_split("streets", "train", data_dir, OPTIONS)


@pytest.fixture(scope="session")
def validation_split(data_dir):
    return open_split("streets", "validation", data_dir, OPTIONS)
