"""The config of an earlier run, for commands without --config."""

import json

import pytest

from sdeseg_jax import main
from sdeseg_jax.config import UserError, default_config, to_json, validate
from sdeseg_jax.configs import cityscapes, folder, kitti_odometry, streets, streets_source_to_streets
from sdeseg_jax.runs.stored_config import FILE, get_config


def store(tmp_path, config):
    (tmp_path / FILE).write_text(json.dumps({"config": to_json(config)}))
    return str(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        streets.get_config("labels=7,multitask=true"),
        streets_source_to_streets.get_config(),
        folder.get_config(),
        cityscapes.get_config("labels=372,selection=ds_us"),
        kitti_odometry.get_config(),
    ],
    ids=["streets", "adaptation", "folder", "cityscapes", "kitti"],
)
def test_a_stored_config_is_read_unchanged(tmp_path, config):
    found = get_config(store(tmp_path, config))
    assert found.to_dict() == config.to_dict()  # including tuples, options of datasets and types
    validate(found)
    assert type(found.selection.student_steps[0]) is tuple


def test_without_a_workdir_it_is_the_default():
    assert get_config().to_dict() == default_config().to_dict()


def test_settings_that_are_newer_than_the_run_have_their_defaults(tmp_path):
    config = to_json(streets.get_config())
    del config["predict"], config["evaluation"]["flip"]
    (tmp_path / FILE).write_text(json.dumps({"config": config}))
    assert get_config(str(tmp_path)).predict == default_config().predict


def test_pose_networks_of_older_runs_have_the_pretrained_learning_rate(tmp_path):
    config = to_json(streets.get_config())
    del config["segmentation"]["pose_learning_rate"]
    config["segmentation"]["pretrained_learning_rate"] = 0.02
    (tmp_path / FILE).write_text(json.dumps({"config": config}))
    assert get_config(str(tmp_path)).segmentation.pose_learning_rate == 0.02


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "cannot be read"),
        ('{"config": 3}', "cannot be read"),
        ('{"config": {"sed": 3}}', "has the unknown setting 'sed'; did you mean 'seed'"),
        ('{"config": {"data": {"croop": 3}}}', "has the unknown setting 'data.croop'"),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, message):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(UserError, match=message):
        get_config(str(tmp_path))


def test_command_line(tmp_path):
    store(tmp_path, streets.get_config())
    found = main._with_stored_config(["main", f"--workdir={tmp_path}", "--job=export"])
    assert found[1].endswith(f"stored_config.py:{tmp_path}") and found[2:] == [f"--workdir={tmp_path}", "--job=export"]
    assert main._with_stored_config(["main", "--workdir", str(tmp_path)])[1].endswith(str(tmp_path))
    assert main._with_stored_config(["main", "--model=x"])[1].endswith("stored_config.py")
    for own in (["main", "--config=a.py", f"--workdir={tmp_path}"], ["main", "--workdir=nowhere"], ["main"]):
        assert main._with_stored_config(own) == own
