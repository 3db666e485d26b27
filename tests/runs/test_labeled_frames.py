"""Annotated frames of a run: labels without a pixel of any class are refused."""

import json

import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.config import ConfigError
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.preparation import prepare_from_source
from sdeseg_jax.runs.labeled_frames import check_labeled
from sdeseg_jax.runs.training_frames import source_frames


def test_labels_that_are_all_void_are_refused(make_config, tmp_path):
    source = tmp_path / "source"
    for folder in ("images", "labels"):
        (source / folder).mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (64, 32), (9 * number, 0, 0)).save(source / f"images/{number}.png")
        Image.new("L", (64, 32), 255 if number < 2 else 1).save(source / f"labels/{number}.png")
    (source / "classes.json").write_text(json.dumps({"classes": [{"name": "road"}, {"name": "car"}]}))
    builder, _ = prepare_from_source("folder", str(source), str(tmp_path / "data"), processes=1)
    dataset = FrameDataset(builder, "train")
    config = make_config(
        data__labels=2, segmentation__batch_size=2, segmentation__multitask=False, source__n_candidates=1
    )
    check_labeled(config, dataset, np.arange(3))
    with pytest.raises(ConfigError, match="data.name: the labels of all 2 annotated frames of folder/train are void"):
        check_labeled(config, dataset, np.arange(2))
    config.data.labels_file = "ids.json"
    with pytest.raises(ConfigError, match="data.labels_file: .* no pixel has a class of folder-2"):
        check_labeled(config, dataset, np.arange(2))
    source_frames(config, dataset)
    with pytest.raises(ConfigError, match="source.split: the labels of all 2 frames"):
        source_frames(config, FrameDataset(builder, "train[:2]"))
