"""A tiny config of the data selection, and the stages before it: a depth network and disparity, both random."""

import shutil

import numpy as np
import pytest
from sdeseg_jax.configs.streets import get_config

from sdeseg_jax.config import validate
from sdeseg_jax.data.disparity_maps import DisparityFolder
from sdeseg_jax.runs import build_networks, open_datasets
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.training.checkpoints import Checkpoints
from sdeseg_jax.training.initialization import random_variables

SIZES = (4, 6, 8)


@pytest.fixture(scope="module")
def make(data_dir):
    """make(method, section__name=value, ...) -> tiny config whose batches suit the four virtual devices."""

    def build(method="ds_us", **changes):
        config = get_config(f"size=tiny,selection={method}")
        config.data.data_dir = data_dir
        config.data.labels = SIZES[-1]
        config.selection.update(schedule=SIZES, student_steps=((4, 2), (6, 3)), batch_size=4)
        config.depth.batch_size = config.segmentation.batch_size = 4
        config.runtime.checkpoint_every = config.runtime.log_every = 1
        config.runtime.tensorboard = False
        for key, value in changes.items():
            section, name = key.split("__")
            config[section][name] = value
        validate(config)
        return config

    return build


@pytest.fixture(scope="module")
def dataset(make):
    return open_datasets.open_training(make())


@pytest.fixture(scope="module")
def stages(make, dataset, tmp_path_factory):
    """Workdir with a depth network and disparity of all frames, both finished."""
    workdir, config = Workdir(tmp_path_factory.mktemp("stages")), make()
    with workdir.stage("pretrain_depth", config):
        variables = random_variables(build_networks.depth_network(config), 0, config.data.crop)
        with Checkpoints(workdir.folder("pretrain_depth") / "checkpoints") as checkpoints:
            checkpoints.save(1, variables)
    with workdir.stage("estimate_depth", config):
        folder = DisparityFolder(workdir.folder("estimate_depth"), dataset.split)
        for name in dataset.index.ids:
            rng = np.random.default_rng(len(folder.missing(dataset.index.ids)))
            ramp = np.linspace(0.1, 0.9, 32)[:, None] + 0.1 * rng.random((32, 64))
            folder.write(name, ramp[..., None].clip(0, 1))
    return workdir


@pytest.fixture
def new_workdir(stages, tmp_path):
    """new_workdir(name) -> workdir with the stages before the selection."""

    def copy(name="run"):
        workdir = Workdir(tmp_path / name)
        for stage in ("pretrain_depth", "estimate_depth"):
            shutil.copytree(stages.folder(stage), workdir.folder(stage))
        return workdir

    return copy
