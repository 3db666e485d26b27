"""The tiny Streets config on this session's own dataset."""

import pytest

from configs.streets import get_config
from sdeseg_jax.config import default_config


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="session")
def make_config(data_dir):
    """make_config(section__name=value, ...) -> tiny config whose batches suit the four virtual devices."""

    def make(**changes):
        config = get_config("size=tiny,multitask=true")
        config.pipeline.stages = default_config().pipeline.stages  # estimate_depth, too, without need
        config.data.data_dir = data_dir
        config.depth.batch_size = config.segmentation.batch_size = 4
        config.runtime.tensorboard = False  # pictures at the end of every training take seconds
        for key, value in changes.items():
            section, name = key.split("__")
            config[section][name] = value
        return config

    return make
