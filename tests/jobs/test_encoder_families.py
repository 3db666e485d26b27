"""The jobs with encoders of other families than the ResNets of most tests: all of them once, at the smallest size."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.data.streets import render_clip
from sdeseg_jax.jobs import load_job
from sdeseg_jax.models.encoders import encoder_name
from sdeseg_jax.models.encoders.dino import DINOS
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.training.checkpoints import Checkpoints
from sdeseg_jax.training.initialization import load_variables

STAGES = ("pretrain_depth", "estimate_depth", "select_labels", "train", "evaluate")
FAMILIES = {"efficientnet_lite0": 1 / 16, "dinov3_small": 1 / 16}
"""Encoder -> multiplier of its channels."""


@pytest.fixture(scope="module", params=FAMILIES)
def run(request, make_config, tmp_path_factory):
    """(config, workdir) of a pipeline with co-trained depth, DepthMix, and selected labels."""
    backbone = request.param
    with pytest.MonkeyPatch.context() as context:
        # Four blocks instead of twelve: less to compile.
        short = dataclasses.replace(DINOS["dinov3_small"], blocks=4, outputs=(0, 1, 2, 3))
        context.setitem(DINOS, "dinov3_small", short)
        config = make_config(model__backbone=backbone, model__width=FAMILIES[backbone], data__labels_from="selection")
        config.selection.update(batch_size=4, schedule=(4, 6))
        config.selection.student.update(backbone=backbone, width=FAMILIES[backbone])
        if backbone.startswith("dino"):
            config.segmentation.update(optimizer="adamw", schedule="poly", layer_decay=0.9)
            config.model.drop_path = 0.2
        else:
            config.model.update(pose_backbone=backbone, pose_width=FAMILIES[backbone])
        config.pipeline.stages = STAGES
        workdir = Workdir(tmp_path_factory.mktemp(backbone), config)
        load_job("pipeline")(config, workdir)
        yield config, workdir


def test_the_whole_method_learns(run):
    config, workdir = run
    for stage in ("pretrain_depth", "train"):
        lines = [json.loads(line) for line in (workdir.folder(stage) / "metrics.jsonl").open()]
        assert all(np.isfinite(line["loss/total"]) for line in lines), stage
        assert encoder_name(load_variables(workdir.folder(stage))["params"]["encoder"]) == config.model.backbone
    assert np.isfinite(json.loads((workdir.root / "metrics.json").read_text())["method"]["miou"])
    with Checkpoints(workdir.folder("train") / "checkpoints") as checkpoints:
        early, late = (checkpoints.restore_variables(step=step)["params"]["encoder"] for step in (2, 4))
    unmoved = [
        jax.tree_util.keystr(path)
        for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(early), jax.tree.leaves(late), strict=True)
        if np.array_equal(a, b)
    ]
    assert unmoved == []


def test_exports_and_predictions(run, tmp_path):
    """Each format is compared with the network when it is written; then one predicts."""
    config, workdir = run
    load_job("export")(config, workdir)
    record = json.loads((workdir.folder("export") / "stage.json").read_text())
    assert record["finished"]
    frame = render_clip("validation", 0, frames=1, height=32, width=64)["image"][0]
    Image.fromarray(frame).save(tmp_path / "a.png")
    labels = []
    for name, place, model in (("run", workdir, {}), ("onnx", None, {"model": str(workdir.folder("export") / "onnx")})):
        load_job("predict")(config, place, input=[str(tmp_path / "a.png")], output=str(tmp_path / name), **model)
        labels.append(np.asarray(Image.open(tmp_path / name / "labels" / "a.png")))
    assert labels[0].shape == (32, 64) and np.mean(labels[0] != labels[1]) < 0.01
