"""Errors of datasets carry the setting that the user gave, wherever the code looked for it."""

import pytest

from sdeseg_jax.config import ConfigError
from sdeseg_jax.runs import open_datasets
from sdeseg_jax.runs.config_per_stage import differences, relevant_settings, stage_config


@pytest.fixture
def config(make_config, tmp_path):
    return make_config(data__data_dir=str(tmp_path))


def key_of(function, *arguments):
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    assert str(caught.value).startswith(f"config.{caught.value.key}: ")
    return caught.value.key


def test_errors_about_other_video_name_its_section(config):
    config.video.name = "camvid"
    assert key_of(open_datasets.open_video, config) == "video.name"
    config.video.update(name="streets", variant="64x32")
    assert key_of(open_datasets.open_video, config) == "video.variant"
    config.data.data_dir = __file__  # only config.data has a data_dir
    config.video.variant = ""
    assert key_of(open_datasets.open_video, config) == "data.data_dir"


def test_errors_about_source_datasets_name_their_section(config):
    assert key_of(open_datasets.source_domain(config).__enter__) == "source.name"
    config.source.name = "gta5"
    assert key_of(open_datasets.open_source, config) == "source.name"
    config.source.update(name="streets", variant="64x32")
    assert key_of(open_datasets.open_source, config) == "source.variant"


@pytest.mark.parametrize(
    "key, given",
    [
        ("data.train_split", "source.split"),
        ("data.options.seed", "source.options.seed"),
        ("video.variant", "source.video.variant"),
        ("model.aspp_rates", "source.model.aspp_rates"),
        ("depth.supervision", "source.depth.supervision"),
        ("depth.batch_size", "depth.batch_size"),
        ("data.data_dir", "data.data_dir"),
    ],
)
def test_errors_about_the_source_domain_name_what_the_user_gave(config, key, given):
    config.source.name = "streets"

    def fail():
        with open_datasets.source_domain(config):
            raise ConfigError(key, "is wrong")

    assert key_of(fail) == given


def test_errors_about_the_size_of_scored_labels_name_the_evaluation(config):
    config.evaluation.variant = "64x32"
    assert key_of(open_datasets.open_scored_labels, config, None) == "evaluation.variant"


def test_differences_of_the_source_stages_name_what_the_user_gave(config):
    """A line per setting, without the run that they came from."""
    config.source.name = "streets"
    own = stage_config(config, "pretrain_source_depth")
    stored = relevant_settings(own, "pretrain_source_depth") | {"model.output_stride": 8, "depth.steps": 9}
    lines = differences(stored, own, "pretrain_source_depth")
    assert lines == ["config.depth.steps: 9 there, 4 now", "config.source.model.output_stride: 8 there, 32 now"]
    assert differences(relevant_settings(own, "pretrain_source_depth"), own, "pretrain_source_depth") == []
