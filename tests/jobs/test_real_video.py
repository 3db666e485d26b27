"""A short training on real video: files of KITTI odometry, prepared, trained on and scored."""

import json

import numpy as np
import pytest

from sdeseg_jax.data.preparation import prepare_from_source
from sdeseg_jax.jobs import load_job
from sdeseg_jax.runs.workdir import Workdir


def test_kitti_is_prepared_trained_on_and_scored_against_its_poses(real_data, make_config, tmp_path):
    prepare_from_source("kitti_odometry", str(real_data("kitti_odometry_clip")), str(tmp_path), (64, 32))
    config = make_config(pipeline__stages=("pretrain_depth", "evaluate", "report"), evaluation__split="train[41:]")
    config.data.update(name="kitti_odometry", data_dir=str(tmp_path), train_split="train[:41]")
    with config.unlocked():
        config.data.options = {}
    workdir = Workdir(tmp_path / "run")
    load_job("pipeline")(config, workdir)
    video = json.loads((workdir.root / "metrics.json").read_text())["video"]
    assert video["frames"] == 8 and video["ego_motion"]["pairs"] == 16
    assert 0 < video["photometric"] < 1 and 0.05 < video["identity"] < 0.5
    # The forward-motion prior alone, as these few steps leave it, knows roughly where the car goes.
    assert video["ego_motion"]["direction_error"] < 30 and np.isfinite(video["ego_motion"]["scale_spread"])
    path = video["trajectory"]
    assert path["snippets"] == 6 and path["clips"] == 1 and path["straight_ahead"]["snippets"] == 6
    # The car drives straight on, in a direction slightly off the camera's; this does not depend on what is learned.
    assert path["straight_ahead"]["clip_percent"] == pytest.approx(1.454, abs=0.001)
    assert 0 < path["clip_percent"] < 10
