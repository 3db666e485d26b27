"""What `select_labels` refuses before it begins, and its errors about frames, features and scores."""

import json
import shutil
import types

import jax
import numpy as np
import pytest
from sdeseg_jax.configs.folder import get_config as folder_config

from sdeseg_jax.config import UserError
from sdeseg_jax.data.frame_dataset import FrameIndex
from sdeseg_jax.jobs import load_job
from sdeseg_jax.jobs.selecting import compute_features, student_training
from sdeseg_jax.runs.selection_candidates import candidate_frames, check_unchanged, find_candidates, frames_file
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.training.checkpoints import CheckpointError


def run(config, workdir):
    load_job("select_labels")(config, workdir)
    return json.loads((workdir.folder("select_labels") / "8.json").read_text())


def test_images_of_no_video_can_be_chosen_unless_depth_is_co_trained(make):
    clips = [("a", ["a0", "a1", "a2", "a3"]), ("b", ["b"]), ("c", ["c0", "c1"]), ("d", ["d0", "d1", "d2"])]
    index = FrameIndex.from_clips(clips, labeled=[], context=[9])
    dataset = types.SimpleNamespace(index=index, name="folder", split="train")
    alone = make(selection__candidates="all")
    assert [index.ids[i] for i in candidate_frames(alone, dataset)] == ["a1", "a2", "b", "d1"]
    video = {"segmentation__multitask": True, "segmentation__mix_disparity": "online"}
    cotrained = candidate_frames(make(selection__candidates="all", **video), dataset)
    assert [index.ids[i] for i in cotrained] == ["a1", "a2", "d1"]
    dataset.index = FrameIndex.from_clips(clips[2:3], labeled=[])
    assert list(candidate_frames(alone, dataset)) == [0, 1]  # better than none
    with pytest.raises(UserError, match="candidates: 'annotated' simulates an annotator, but folder/train has no lab"):
        candidate_frames(make(), dataset)


def test_more_frames_to_annotate_than_a_folder_has():
    """The user asked by an argument, and never set a schedule."""
    index = FrameIndex.from_clips([("a", ["a0", "a1", "a2", "a3"]), ("b", ["b0", "b1", "b2", "b3"])], labeled=[])
    dataset = types.SimpleNamespace(index=index, name="folder", split="train")
    message = "4 frames to choose from, fewer than the 50 .*: annotate=4 in the arguments of configs/folder.py"
    with pytest.raises(UserError, match=message):
        find_candidates(folder_config("stages=select,annotate=50"), dataset)
    assert len(find_candidates(folder_config("stages=select,annotate=4"), dataset).frames) == 4


@pytest.mark.parametrize("number", [0, -3])
def test_no_frames_to_annotate(number):
    with pytest.raises(UserError, match=f"config argument annotate={number} should be 1 or more"):
        folder_config(f"stages=select,annotate={number}")


def test_repeated_images_are_reported(make, new_workdir, monkeypatch, caplog):
    """Constant features: the seed decides between all frames, and a warning says so."""

    def constant(variables, images):
        return np.ones((len(images), 4, 8, 3), np.float32)

    monkeypatch.setattr(compute_features, "predict_features", lambda *args: constant)
    workdir = new_workdir()
    with caplog.at_level("WARNING", "sdeseg_jax"):
        found = run(make("diversity"), workdir)
    assert [pick["tied"] for pick in found["picks"]] == [1, 15, 14, 13, 12, 11, 10, 9]
    assert "7 of 8 frames were chosen by the seed among frames with an equal criterion" in caplog.text
    assert workdir.record("select_labels")["metrics"]["tied"] == 7


def test_features_that_are_not_finite_are_named(make, new_workdir, monkeypatch):
    def broken(variables, images):
        features = np.ones((len(images), 4, 8, 3), np.float32)
        features[1, 2, 2, 0] = np.nan
        return features

    monkeypatch.setattr(compute_features, "predict_features", lambda *args: broken)
    workdir = new_workdir()
    with pytest.raises(UserError, match="features of 1 frames are not finite: train_0000_02.*diverged or is damaged"):
        run(make("diversity"), workdir)
    assert not (workdir.folder("select_labels") / "features" / "features.npy").exists()


def test_errors_that_are_not_finite_are_named(make, new_workdir, monkeypatch):
    def broken(function):
        return lambda variables, batch: np.full(len(batch["image"]), np.inf)

    monkeypatch.setattr(student_training, "replicate_inference", broken)
    monkeypatch.setattr(student_training.Students, "train", lambda *args: {})
    with pytest.raises(UserError, match="the student_error of 16 frames is not finite: train_0000_01, train_0000_02"):
        run(make(), new_workdir())


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"selection__schedule": (4, 17)},
            r"16 frames to choose from, fewer than the 17 requested \(.*\)\. To choose all 16: "
            "--config.selection.schedule=4,16 --config.data.labels=16$",
        ),
        ({"selection__schedule": (4, 17), "data__labels": 4}, "To choose all 16: --config.selection.schedule=4,16$"),
        (
            {"selection__schedule": (20, 30), "data__labels_from": "random"},
            "To choose all 16: --config.selection.schedule=16$",
        ),
        (
            {"selection__schedule": (2, 4)},
            "batch_size: the first student would learn from 2 frames, fewer than a batch",
        ),
        ({"selection__batch_size": 3}, "config.selection.batch_size: a batch of 3 cannot be divided among 4 devices"),
        ({"selection__existing": "annotated"}, "has 0 frames to choose from beside the 32 of.*None is left to choose"),
    ],
)
def test_more_is_asked_for_than_there_is(make, tmp_path, changes, message):
    workdir = Workdir(tmp_path / "run")
    with pytest.raises(UserError, match=message):
        run(make(**changes), workdir)
    assert not workdir.root.exists()


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "config.selection.existing: .*labels.json cannot be read"),
        (["train_0000_01", "nowhere"], "config.selection.existing: .*labels.json: 1 ids are not in .*'nowhere'"),
        (["train_0000_01"] * 2, "config.selection.existing: .*labels.json: .* listed twice"),
        ({"frames": []}, "config.selection.existing: .*labels.json should hold a list of frame ids"),
    ],
)
def test_wrong_list_of_existing_labels(make, tmp_path, content, message):
    file = tmp_path / "labels.json"
    if content is not None:
        file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        run(make(selection__existing=str(file)), Workdir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "method, stage", [("ds_us", "estimate_depth"), ("diversity", "pretrain_depth"), ("uncertainty", "estimate_depth")]
)
def test_stages_before_it_are_named(make, new_workdir, method, stage):
    workdir = new_workdir()
    shutil.rmtree(workdir.folder(stage))
    with pytest.raises(UserError, match=f"Run it first: --job={stage}"):
        run(make(method), workdir)


def test_missing_disparity_is_named(make, new_workdir):
    workdir = new_workdir()
    (workdir.folder("estimate_depth") / "train" / "train_0003_02.png").unlink()
    with pytest.raises(UserError, match="train_0003_02.png does not exist; 1 of 16 frames have no"):
        run(make(), workdir)


@pytest.mark.parametrize("content", ["{", "[]", '{"frames": []}'])
def test_damaged_record_of_what_a_selection_was_begun_with_is_named(make, tmp_path, content):
    workdir = Workdir(tmp_path)
    with workdir.stage("select_labels", make()):
        frames_file(workdir).write_text(content)
    with pytest.raises(UserError, match=f"{frames_file(workdir)} is damaged .*Remove {tmp_path}/selection to choose"):
        check_unchanged(make(), None, None, workdir)


def test_several_hosts_are_refused(make, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match="select_labels runs on one host, on all of its devices"):
        run(make(), Workdir(tmp_path / "run"))


def test_students_that_cannot_be_built_are_refused_before_anything_runs(make, tmp_path):
    config = make()
    config.selection.student.width = 0.0
    with pytest.raises(UserError, match="config.selection.student: width=0.0"):
        run(config, Workdir(tmp_path / "run"))


def test_weights_of_students_that_do_not_fit_are_refused_before_anything_runs(make, stages, tmp_path):
    config = make()
    config.selection.init.encoder = str(tmp_path / "resnet50")
    with pytest.raises(UserError, match="config.selection.init.encoder: no checkpoint folder or file at .*resnet50"):
        run(config, Workdir(tmp_path / "run"))
    config.selection.init.encoder = str(stages.folder("pretrain_depth"))
    config.selection.student.backbone = "resnet50"
    with pytest.raises(
        CheckpointError, match="'encoder' of .* does not fit the config .resnet10 in the checkpoint, resnet50"
    ):
        run(config, Workdir(tmp_path / "run"))


def test_existing_labels_that_training_could_not_use_are_refused_before_the_selection(make, tmp_path):
    """A frame at the end of its clip, where depth is to be co-trained."""
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(["train_0000_00", "train_0001_01", "train_0001_02", "train_0002_01"]))
    video = {"segmentation__multitask": True, "segmentation__mix_disparity": "online"}
    config = make(selection__existing=str(file), selection__schedule=(4,), data__labels=8, **video)
    with pytest.raises(
        UserError, match="1 labelled frames of streets have no frame before or after them .*'train_0000_00'"
    ):
        load_job("dataset")(config, Workdir(tmp_path / "run"))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"selection__method": "uncertanty"}, "config.selection.method: .*did you mean 'uncertainty'"),
        ({"selection__schedule": (4, 4)}, "config.selection.schedule: .*should be growing numbers of frames"),
        ({"selection__schedule": ()}, "config.selection.schedule"),
        ({"selection__student_steps": ((4, 0),)}, r"config.selection.student_steps: \(\(4, 0\),\) should be 1 to"),
        ({"selection__student_steps": ((4, 2), (4, 3))}, "config.selection.student_steps: .*growing numbers of frames"),
        ({"selection__student_steps": (4, 2)}, "config.selection.student_steps"),
        ({"model__dropout": 1.5}, r"config.model.dropout: 1.5 should be 0 to 0.99"),
        ({"selection__feature_size": (4,)}, "config.selection.feature_size"),
        ({"data__labels_file": "labels.json"}, "config.data.labels_from: .* name two sets"),
        ({"data__labels": 0}, "config.data.labels: 0 means all labels, which leaves nothing to select"),
    ],
)
def test_wrong_settings(make, changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)


def test_entropy_needs_an_annotator(make, new_workdir):
    with pytest.raises(UserError, match="config.selection.method: 'entropy' learns from the labels"):
        run(make("entropy", selection__candidates="all"), new_workdir())
