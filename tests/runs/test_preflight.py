"""Checks before work starts: all problems together, disk space, stages of another config."""

import collections
import re

import jax
import numpy as np
import pytest

from sdeseg_jax.config import ConfigError, UserError
from sdeseg_jax.jobs import load_job
from sdeseg_jax.runs import disk_space, preflight
from sdeseg_jax.runs.workdir import FOLDERS, Workdir
from sdeseg_jax.training.checkpoints import Checkpoints

SCRATCH = {"segmentation__init_encoder": "scratch", "segmentation__init_decoder": "scratch"}


def test_full_disk_is_foreseen(make_config, small_disk):
    """Checkpoints of 2 MB do not fit on a disk of 2 MB; nothing is written."""
    config = make_config()
    workdir = Workdir(small_disk / "run", config)
    with pytest.raises(UserError) as caught:
        preflight.check(config, workdir, ("pretrain_depth", "estimate_depth", "baseline"))
    message = str(caught.value)
    assert f"--workdir={small_disk}/run: about " in message and "GB are needed (pretrain_depth 0." in message
    assert "config.runtime.keep_checkpoints = 2" in message
    assert not list(small_disk.iterdir())


def test_planned_size_is_that_of_the_checkpoints(make_config, tmp_path):
    config = make_config()
    planned = disk_space.planned_bytes(config, "pretrain_depth")
    load_job("pretrain_depth")(config, Workdir(tmp_path))
    with Checkpoints(tmp_path / "depth/checkpoints") as checkpoints:
        leaves = jax.tree.leaves(checkpoints.stored(4))
    # Three: two are kept, and the next one is being written.
    assert planned == 3 * sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)


def test_space_that_a_run_already_uses_is_not_needed_again(make_config, tmp_path, monkeypatch):
    config, folder = make_config(), tmp_path / "depth/checkpoints"
    planned = disk_space.planned_bytes(config, "pretrain_depth")
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: usage(planned // 2))
    with pytest.raises(UserError, match="GB are needed"):
        preflight.check(config, Workdir(tmp_path), ("pretrain_depth",))
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"0" * (planned * 2 // 3))
    preflight.check(config, Workdir(tmp_path), ("pretrain_depth",))
    many = make_config(runtime__keep_checkpoints=1000)  # the training is saved only twice
    assert disk_space.planned_bytes(many, "pretrain_depth") == planned


def test_data_dir_that_is_a_file(make_config, tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(UserError, match=f"config.data.data_dir: {tmp_path}/data is not a folder"):
        preflight.check(make_config(data__data_dir=str(tmp_path / "data")), Workdir(tmp_path / "run"), ("baseline",))


def test_datasets_that_are_not_there_are_named_by_their_section(make_config, tmp_path):
    """Only once if two sections name the same one."""
    config = make_config(data__name="camvid", data__variant="64x32", video__name="cityscapes_video")
    config.data.options = {}
    for video, sections in (("cityscapes_video", ["data", "video"]), ("camvid", ["data"])):
        config.video.name, config.video.variant = video, "64x32"
        with pytest.raises(UserError) as caught:
            preflight.check(config, Workdir(tmp_path, config), ("pretrain_depth",))
        assert re.findall(r"config\.(\w+)\.name: Dataset", str(caught.value)) == sections


def test_summaries_name_all_stages_that_they_summarise(make_config, two_stages):
    """Nothing is moved, which would leave them nothing to summarise."""
    workdir = two_stages("redo")
    for stage in ("evaluate", "report"):
        with workdir.stage(stage, make_config()):
            pass
        with pytest.raises(UserError, match=r"pretrain_depth \(depth/\), train \(segmentation/\)"):
            preflight.check(make_config(depth__learning_rate=3e-4), workdir, (stage,))
    assert not (workdir.root / "outdated").exists()


def test_damaged_record_of_a_stage(make_config, tmp_path):
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth/stage.json").write_text('{"config": {')
    with pytest.raises(UserError, match=f"{tmp_path}/depth/stage.json is not valid JSON.*: remove {tmp_path}/depth"):
        preflight.check(make_config(), Workdir(tmp_path), ("pretrain_depth",))


def test_a_frozen_encoder_needs_weights(make_config, tmp_path):
    config = make_config(segmentation__freeze_encoder=True, segmentation__init_encoder="scratch")
    config.pipeline.stages = ("train",)
    message = "config.segmentation.freeze_encoder: the encoder would keep random weights.*init.encoder=pretrained"
    with pytest.raises(UserError, match=message):
        preflight.check(config, Workdir(tmp_path, config), config.pipeline.stages)


def test_all_problems_are_reported_together(make_config, tmp_path):
    config = make_config(data__labels=400, depth__batch_size=6, evaluation__split="val", init__encoder="/nowhere")
    with pytest.raises(UserError) as caught:
        preflight.check(config, Workdir(tmp_path, config), config.pipeline.stages)
    message = str(caught.value)
    assert message.startswith("4 problems have to be solved first:")
    for part in (
        "config.depth.batch_size: a batch of 6 cannot be divided among 4",
        "config.init.encoder: no checkpoint folder or file",
        "config.data.labels: 400 labelled frames are requested, but only",
        "config.evaluation.split: ",
    ):
        assert part in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "settings, kept",
    [
        ({"frozen_steps": 3}, "frozen_steps = 3 would"),
        ({"feature_distance_weight": 0.01}, "feature_distance_weight = 0.01"),
    ],
)
def test_an_encoder_is_not_kept_at_random_weights(make_config, tmp_path, settings, kept):
    config = make_config(**{f"depth__{name}": value for name, value in settings.items()})
    with pytest.raises(UserError, match=f"config.init.encoder: empty.*{kept}.*--config.depth.{next(iter(settings))}=0"):
        preflight.check(config, Workdir(tmp_path / "run"), ("dataset", "pretrain_depth"))
    config.init.encoder = str(tmp_path / "weights")
    with pytest.raises(ConfigError, match="config.init.encoder: no checkpoint folder or file") as error:
        preflight.check(config, Workdir(tmp_path / "run"), ("dataset", "pretrain_depth"))
    assert "random" not in str(error.value)


def test_nothing_is_rendered_for_a_run_that_cannot_work(make_config, tmp_path):
    config = make_config(data__data_dir=str(tmp_path / "data"), depth__batch_size=6)
    with pytest.raises(UserError, match="config.depth.batch_size"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))
    assert not (tmp_path / "data").exists() and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "content, what",
    [(None, "cannot be read"), ("{", "is not valid JSON"), ("[]", "should hold a list"), ("[1]", "should hold a list")],
)
def test_lists_of_frames_are_read_before_anything_is_rendered(make_config, tmp_path, content, what):
    path = tmp_path / "ids.json"
    if content:
        path.write_text(content)
    config = make_config(data__data_dir=str(tmp_path / "data"), data__labels_file=str(path), **SCRATCH)
    with pytest.raises(UserError, match=f"^config.data.labels_file: {path} {what}"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))
    config = make_config(data__data_dir=str(tmp_path / "data"), selection__existing=str(path))
    with pytest.raises(UserError, match=f"config.selection.existing: {path} {what}"):
        preflight.check(config, Workdir(tmp_path / "run"), ("pretrain_depth", "estimate_depth", "select_labels"))
    assert not (tmp_path / "data").exists() and not (tmp_path / "run").exists()


def test_an_unreadable_list_of_frames_is_reported_once(make_config, tmp_path):
    """Although its ids are also looked up if the dataset exists."""
    config = make_config(data__labels_file=str(tmp_path / "ids.json"), **SCRATCH)
    load_job("dataset")(make_config(), Workdir(tmp_path / "any"))
    with pytest.raises(UserError, match="^config.data.labels_file: [^\n]*$"):
        preflight.check(config, Workdir(tmp_path / "run"), ("dataset", "baseline", "evaluate"))


@pytest.fixture
def two_stages(make_config, tmp_path):
    """make(changed) returns a workdir with three stages that the default config made."""

    def make(changed):
        workdir = Workdir(tmp_path, make_config(), changed)
        for stage in ("pretrain_depth", "estimate_depth", "train"):
            with workdir.stage(stage, make_config()):
                (workdir.folder(stage) / "result").write_text(stage)
        return workdir

    return make


CHANGE = {"depth__learning_rate": 3e-4, "data__labels": 5}


def test_changed_config_names_all_stages_that_depend_on_it(make_config, two_stages):
    workdir = two_stages("refuse")
    with pytest.raises(UserError) as caught:
        preflight.check(make_config(**CHANGE), workdir, ("pretrain_depth", "estimate_depth", "train"))
    message = str(caught.value)
    assert "pretrain_depth (depth/), estimate_depth (disparity/), train (segmentation/)" in message
    assert "config.data.labels: 6 there, 5 now" in message and "--changed=redo" in message
    assert message.count("config.depth.learning_rate: 0.0006 there, 0.0003 now") == 1
    with pytest.raises(UserError) as caught:  # only the last one depends on labels
        preflight.check(make_config(data__labels=5), workdir, ("pretrain_depth", "estimate_depth", "train"))
    assert str(caught.value).startswith(f"{workdir.folder('train')} was made with another config")


def test_changed_stages_are_computed_again_on_request(make_config, two_stages, caplog, monkeypatch):
    workdir = two_stages("redo")
    preflight.check(make_config(**CHANGE), workdir, ("pretrain_depth", "estimate_depth", "train"))
    aside = workdir.root / "outdated" / "1"
    results = ["depth/result", "disparity/result", "segmentation/result"]
    assert sorted(str(path.relative_to(aside)) for path in aside.rglob("result")) == results
    assert not any(workdir.record(stage) for stage in FOLDERS)
    assert "computed again: pretrain_depth (depth/), estimate_depth" in caplog.text.replace("\n", " ")
    two_stages("redo")
    preflight.check(make_config(data__labels=5), workdir, ("pretrain_depth", "estimate_depth", "train"))
    assert workdir.finished("pretrain_depth") and workdir.finished("estimate_depth")  # independent of labels
    assert [path.name for path in (workdir.root / "outdated" / "2").iterdir()] == ["segmentation"]


def test_nothing_is_moved_for_a_run_that_cannot_work(make_config, two_stages):
    workdir = two_stages("redo")
    with pytest.raises(ConfigError, match="config.init.encoder"):
        config = make_config(**CHANGE, init__encoder="/nowhere")
        preflight.check(config, workdir, ("pretrain_depth", "estimate_depth", "train"))
    with pytest.raises(UserError, match=r"pretrain_depth \(depth/\).*train \(segmentation/\)"):
        preflight.check(make_config(**CHANGE), workdir, ("train",))  # needs the others, but would not compute them
    assert not (workdir.root / "outdated").exists()


def test_a_borrowed_network_that_does_not_fit_is_found_before_work(make_config, tmp_path):
    with Workdir(tmp_path / "lender").stage("pretrain_depth", make_config(model__width=0.5)):
        pass
    config = make_config(depth__workdir=str(tmp_path / "lender"))
    with pytest.raises(UserError, match="(?s)config.depth.workdir: .*config.model.width: 0.5 there.*Name another run"):
        preflight.check(config, Workdir(tmp_path / "run", config, "redo"), ("pretrain_depth", "baseline"))
    preflight.check(config, Workdir(tmp_path / "run", config, "keep"), ("pretrain_depth",))


def test_changed_config_is_kept_on_request_and_noted(make_config, two_stages):
    workdir, config = two_stages("keep"), make_config(**CHANGE)
    preflight.check(config, workdir, ("pretrain_depth", "estimate_depth", "train"))
    with workdir.stage("train", config):
        pass
    record = workdir.record("train")
    differences = ["config.data.labels: 6 there, 5 now", "config.depth.learning_rate: 0.0006 there, 0.0003 now"]
    assert record["accepted"] == differences
    assert record["config"]["data.labels"] == 5


def test_depth_matters_only_to_trainings_that_use_it(make_config, tmp_path):
    workdir = Workdir(tmp_path)
    supervised = {**SCRATCH, "segmentation__multitask": False, "segmentation__mix": "none"}
    with workdir.stage("train", make_config(**supervised)):
        pass
    assert not workdir.changes("train", make_config(**supervised, depth__steps=99, video__share=0.5))
    assert workdir.changes("train", make_config(**supervised, model__width=0.5))
    precomputed = {**supervised, "segmentation__mix": "depth", "segmentation__mix_disparity": "precomputed"}
    mixing = make_config(**precomputed, depth__steps=99)
    assert workdir.changes("train", mixing) == [
        "config.segmentation.mix: 'none' there, 'depth' now",
        "config.segmentation.mix_disparity: 'online' there, 'precomputed' now",
    ]


def test_the_same_file_may_have_another_path(make_config, tmp_path, monkeypatch):
    workdir = Workdir(tmp_path / "run")
    (tmp_path / "labels.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    with workdir.stage("train", make_config(data__labels_file="labels.json", init__pose="w")):
        pass
    same = make_config(data__labels_file=str(tmp_path / "labels.json"), init__pose=f"{tmp_path}/run/../w")
    assert not workdir.changes("train", same)
    assert workdir.changes("train", make_config(data__labels_file="others.json", init__pose="w"))
