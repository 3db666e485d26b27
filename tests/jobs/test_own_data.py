"""A user's folder, from files to scores, with and without labels, with and without a validation split."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from sdeseg_jax.configs.folder import STAGES

from sdeseg_jax.config import UserError
from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.data.preparation import prepare_from_source
from sdeseg_jax.data.streets import render_clip
from sdeseg_jax.jobs import load_job
from sdeseg_jax.runs.workdir import Workdir

LABELED = (1, 2)
"""Frames of every clip that are annotated."""


def write_folder(root, validation: bool, labels: bool, unlabeled=()):
    """Five clips of Streets as a user would have them: images, a few labels, one camera."""
    for c in range(5):
        clip = render_clip("train", c, frames=4, height=32, width=64)
        folder = root / "clips" / f"c{c}"
        folder.mkdir(parents=True)
        for t in range(4):
            Image.fromarray(clip["image"][t]).save(folder / f"c{c}_{t}.png")
        (root / "labels").mkdir(exist_ok=True)
        for t in LABELED if labels else ():
            if (c, t) not in unlabeled:
                Image.fromarray(clip["label"][t]).save(root / "labels" / f"c{c}_{t}.png")
    classes = [{"name": n, "color": c} for n, c in zip(CITYSCAPES.names, CITYSCAPES.colors, strict=True)]
    (root / "classes.json").write_text(json.dumps({"classes": classes}))
    (root / "camera.json").write_text(json.dumps({"field_of_view": 68}))
    if validation:
        (root / "validation.txt").write_text("c4\n")
    return root


@pytest.fixture
def own_config(make_config, tmp_path):
    """own_config(stages, validation, labels) -> tiny config that reads a folder prepared from files."""

    def make(stages, validation=True, labels=True, unlabeled=()):
        source = write_folder(tmp_path / "source", validation, labels, unlabeled)
        prepare_from_source("folder", str(source), str(tmp_path / "data"), processes=1)
        config = make_config(data__name="folder", data__data_dir=str(tmp_path / "data"), data__labels=0)
        # Compiles fastest, and only once for all tests here.
        config.segmentation.update(multitask=False, mix_disparity="precomputed", class_weights="none")
        with config.unlocked():
            config.data.options = {}
        config.pipeline.stages = STAGES[stages]
        return config

    return make


def run(config, tmp_path):
    workdir = Workdir(tmp_path / "run")
    load_job("pipeline")(config, workdir)
    return workdir, json.loads((workdir.root / "metrics.json").read_text())


def test_all_stages_on_own_data(own_config, tmp_path):
    workdir, metrics = run(own_config("all"), tmp_path)
    assert metrics["labels"] == 4 * len(LABELED) and metrics["video"]["frames"] == 2
    for name in ("baseline", "method"):
        assert metrics[name]["protocol"] == "folder-19" and metrics[name]["images"] == len(LABELED)
    ids = json.loads((workdir.folder("train") / "labeled.json").read_text())["ids"]
    assert ids == [f"c{c}_{t}" for c in range(4) for t in LABELED]
    assert "c4_1" in (workdir.folder("report") / "index.html").read_text()


def test_segmentation_is_scored_at_full_resolution(own_config, tmp_path):
    config = own_config("supervised")
    prepare_from_source("folder", str(tmp_path / "source"), str(tmp_path / "data"), size=(128, 96), processes=1)
    config.data.variant, config.evaluation.variant = "64x32", "128x96"
    _, metrics = run(config, tmp_path)
    assert metrics["baseline"]["inference"] == "input 32x64, scored at 96x128, whole image"
    assert metrics["baseline"]["images"] == len(LABELED)
    config.evaluation.variant = "256x192"
    with pytest.raises(UserError, match="config.evaluation.variant: .* has no '256x192'"):
        load_job("pipeline")(config, Workdir(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_video_without_labels_learns_depth(own_config, tmp_path):
    workdir, metrics = run(own_config("depth", labels=False), tmp_path)
    assert set(metrics) == {"video", "seconds"} and np.isfinite(metrics["video"]["photometric"])
    assert "ego_motion" not in metrics["video"]
    assert (workdir.folder("report") / "index.html").exists()


def test_frames_to_annotate_are_named_as_the_user_knows_them(own_config, tmp_path):
    """Chosen from video, beside the annotated ones; labels that are then drawn under the given names are found."""
    config = own_config("select", unlabeled=((0, 1), (2, 2), (3, 1)))
    config.selection.update(schedule=(2, 3), candidates="all", existing="annotated", method="diversity")
    config.data.labels_from = "random"
    workdir = Workdir(tmp_path / "run")
    load_job("pipeline")(config, workdir)
    folder = workdir.folder("select_labels")
    found = json.loads((folder / "3.json").read_text())
    annotated = [f"c{c}_{t}" for c in range(4) for t in LABELED]
    before = sorted(set(annotated) - {"c0_1", "c2_2", "c3_1"})
    # The frames with both neighbours are those that `write_folder` annotates.
    assert found["existing"] == len(before) and sorted(found["ids"]) == annotated
    lines = [line.split("\t") for line in (folder / "3" / "files.txt").read_text().splitlines()]
    assert len(lines) == 3
    for (image, label), pick in zip(lines, found["picks"], strict=True):
        clip, frame = pick["id"].split("_")
        assert (image, label) == (f"clips/{clip}/{clip}_{frame}.png", f"labels/{clip}/{clip}_{frame}.png")
        assert (tmp_path / "source" / image).exists()
        (tmp_path / "source" / label).parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "source" / "labels" / "c4_1.png", tmp_path / "source" / label)
    builder, _ = prepare_from_source("folder", str(tmp_path / "source"), str(tmp_path / "again"), processes=1)
    assert len(builder.info.metadata["labeled"]["train"]) == len(before) + 3
    assert "Selected frames" in (workdir.folder("report") / "index.html").read_text()


def test_students_learn_from_frames_without_labels(own_config, tmp_path):
    """From video alone, with nothing annotated at all, and an interruption between stages."""
    config = own_config("select", labels=False)
    config.selection.update(
        schedule=(4, 6), candidates="all", existing="annotated", method="ds_us", student_steps=((4, 2),), batch_size=4
    )
    config.pipeline.stages = STAGES["depth"]
    load_job("pipeline")(config, Workdir(tmp_path / "run"))
    config.pipeline.stages = STAGES["select"]
    config.selection.schedule = (4, 60)
    with pytest.raises(
        UserError, match="config.selection.schedule: .* has 8 frames to choose from, fewer than the 60 .*ends of clips"
    ):
        load_job("pipeline")(config, Workdir(tmp_path / "run"))  # before any stage
    assert not (tmp_path / "run" / "disparity").exists()
    config.selection.schedule = (4, 6)
    load_job("pipeline")(config, Workdir(tmp_path / "run"))
    found = json.loads((tmp_path / "run" / "selection" / "6.json").read_text())
    assert found["existing"] == 0 and len(set(found["ids"])) == 6 and found["picks"][5]["student_error"] > 0
    assert len((tmp_path / "run" / "selection" / "6" / "files.txt").read_text().splitlines()) == 6
    assert not (tmp_path / "run" / "selection" / "6" / "class_frequency.png").exists()


def test_entropy_needs_labels_of_what_is_annotated_before(own_config, tmp_path):
    config = own_config("select", unlabeled=((0, 1),))
    (tmp_path / "labels.json").write_text('["c0_1", "c1_1"]')
    config.selection.update(method="entropy", candidates="annotated", existing=str(tmp_path / "labels.json"))
    with pytest.raises(UserError, match="existing: .*: 1 frames have no label that 'entropy' could .*'c0_1'"):
        load_job("select_labels")(config, Workdir(tmp_path / "run"))


def test_without_a_validation_split_nothing_is_scored_and_nothing_fails(own_config, tmp_path, caplog):
    config = own_config("supervised", validation=False)
    workdir, metrics = run(config, tmp_path)
    assert set(metrics) == {"seconds"} and workdir.finished("baseline") and workdir.finished("report")
    config.evaluation.split = "val"
    with pytest.raises(UserError, match="split 'val' does not exist; valid: 'train'"):
        load_job("pipeline")(config, Workdir(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_segmentation_of_video_without_labels_is_refused_at_once(own_config, tmp_path):
    config = own_config("all", labels=False)
    with pytest.raises(UserError, match="'folder' has no labels; use it to learn depth"):
        load_job("pipeline")(config, Workdir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
