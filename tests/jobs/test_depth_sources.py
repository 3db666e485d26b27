"""Depth learned from known depth, depth taken from another run, and ways of scoring, tested on the borrowing run."""

import json

import numpy as np
import pytest

from sdeseg_jax.config import UserError
from sdeseg_jax.jobs import load_job
from sdeseg_jax.runs import open_datasets
from sdeseg_jax.runs.workdir import Workdir, check_borrowed
from sdeseg_jax.training.checkpoints import CheckpointError
from sdeseg_jax.training.initialization import load_variables

STORED_DISPARITY = {"segmentation__multitask": False, "segmentation__mix_disparity": "precomputed"}


def scores(workdir):
    return json.loads((workdir.root / "metrics.json").read_text())


@pytest.fixture(scope="module")
def supervised(make_config, tmp_path_factory):
    """Workdir of a depth network that learned from known depth, with its disparity."""
    config, workdir = make_config(depth__supervision="depth"), Workdir(tmp_path_factory.mktemp("supervised"))
    config.pipeline.stages = ("pretrain_depth", "estimate_depth", "evaluate")
    load_job("pipeline")(config, workdir)
    return workdir


@pytest.fixture(scope="module")
def borrowing(make_config, supervised, tmp_path_factory):
    """(config, workdir) of a finished run that starts from that network, and mixes by its disparity."""
    config = make_config(depth__supervision="depth", **STORED_DISPARITY)
    config.depth.workdir = config.estimate.workdir = str(supervised.root)
    config.pipeline.stages = ("estimate_depth", "train", "evaluate")
    workdir = Workdir(tmp_path_factory.mktemp("borrowing"), config)
    load_job("pipeline")(config, workdir)
    return config, workdir


def test_known_depth_needs_no_pose_network_and_is_scored(supervised):
    assert set(load_variables(supervised.folder("pretrain_depth"))["params"]) == {"encoder", "depth_decoder"}
    metrics = scores(supervised)
    assert metrics["depth"]["images"] == 12 and "video" not in metrics
    lines = [json.loads(line) for line in (supervised.folder("pretrain_depth") / "metrics.jsonl").open()]
    assert all(np.isfinite(line["loss/depth"]) for line in lines) and "depth/warped_share" not in lines[0]


def test_a_run_takes_depth_network_and_disparity_of_another(borrowing, supervised):
    _, workdir = borrowing
    assert (supervised.root / "disparity" / "stage.json").exists()
    assert not (workdir.root / "depth").exists() and not (workdir.root / "disparity").exists()
    metrics = scores(workdir)
    assert metrics["depth"]["abs_rel"] == scores(supervised)["depth"]["abs_rel"]
    assert metrics["method"]["images"] == 12 and "depth" not in metrics["method"]


def test_depth_network_that_is_not_there_or_does_not_fit(borrowing, tmp_path):
    config = borrowing[0].copy_and_resolve_references()
    config.depth.workdir = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"config\.depth\.workdir: .*nowhere/depth holds no finished"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))
    config.depth.workdir, config.depth.supervision = borrowing[0].depth.workdir, "self"
    with pytest.raises(UserError, match=r"config\.depth\.supervision: 'depth' there, 'self' now"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))
    config = borrowing[0].copy_and_resolve_references()
    config.estimate.workdir = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"config\.estimate\.workdir: .*nowhere/disparity holds no finished"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))
    assert not list(tmp_path.rglob("stage.json")) or not (tmp_path / "run" / "segmentation").exists()


def test_disparity_of_other_frames_is_refused(borrowing, tmp_path):
    config = borrowing[0].copy_and_resolve_references()
    config.data.options.seed = 1
    config.depth.workdir, config.pipeline.stages = "", ("pretrain_depth", "train")  # long before it is read
    with pytest.raises(UserError, match=r"config\.data\.options\.seed: 0 there, 1 now"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))
    assert not (tmp_path / "run").exists()
    config.depth.workdir = borrowing[0].depth.workdir
    with pytest.raises(UserError, match=r"config\.data\.options\.seed: 0 there, 1 now"):
        check_borrowed(config, Workdir(tmp_path, config), "estimate_depth")
    assert check_borrowed(config, Workdir(tmp_path, config), "pretrain_depth")


def test_borrower_may_compute_otherwise(borrowing, tmp_path):
    """Settings that do not change the meaning of weights may differ from the run that trained them."""
    config = borrowing[0].copy_and_resolve_references()
    config.model.update(dtype="bfloat16", remat=True, sync_batch_norm=False)
    assert check_borrowed(config, Workdir(tmp_path, config), "pretrain_depth")


def test_way_of_scoring_is_named_and_changes_scores_alone(borrowing):
    config, workdir = borrowing
    before = scores(workdir)["method"]
    assert before["inference"] == "input 32x64, whole image"
    first = workdir.folder("evaluate") / "method_cityscapes-19-input-32x64-whole-image.json"
    stored, began = first.read_text(), (workdir.folder("train") / "stage.json").stat().st_mtime_ns
    other = config.copy_and_resolve_references()
    other.evaluation.update(window=(32, 32), flip=True, scales=(1.0, 1.5), input_size=(64, 128))
    load_job("pipeline")(other, workdir)
    after = scores(workdir)["method"]
    assert first.read_text() == stored and len(list(first.parent.glob("method_*.json"))) == 2
    assert (workdir.folder("train") / "stage.json").stat().st_mtime_ns == began
    assert after["inference"] == "input 64x128, scored at 32x64, windows of 32x32, mirrored, too, scales 1 1.5"
    assert after["images"] == before["images"]
    assert after["iou"] != before["iou"]


def test_depth_is_not_scored_again_where_nobody_asks_for_it(borrowing):
    config, workdir = borrowing
    assert "depth" in scores(workdir)
    other = config.copy_and_resolve_references()
    other.evaluation.depth = False
    load_job("pipeline")(other, workdir)
    assert "depth" not in scores(workdir) and "method" in scores(workdir)


def test_initial_weights_that_do_not_fit_are_refused_before_any_stage(make_config, supervised, tmp_path):
    config = make_config()
    config.init.pose = str(supervised.folder("pretrain_depth"))
    with pytest.raises(CheckpointError, match="has no 'pose'; it has depth_decoder, encoder"):
        load_job("pipeline")(config, Workdir(tmp_path / "run"))
    config.init.pose, config.init.distillation = "", str(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"config\.init\.distillation: no checkpoint folder"):
        load_job("pipeline")(config, Workdir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_depthmix_without_any_source_of_depth_is_refused_before_any_stage(make_config, tmp_path):
    config = make_config(**STORED_DISPARITY)
    config.segmentation.init_encoder = config.segmentation.init_decoder = "scratch"
    config.pipeline.stages = ("baseline", "train", "evaluate")
    with pytest.raises(UserError, match="no 'estimate_depth' before 'train'; .*reads the stored disparity"):
        load_job("pipeline")(config, Workdir(tmp_path / "run"))
    config.pipeline.stages = ("estimate_depth", "train")
    with pytest.raises(UserError, match="no 'pretrain_depth' before 'estimate_depth'"):
        load_job("pipeline")(config, Workdir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_streets_has_no_variants(make_config):
    with pytest.raises(UserError, match="Streets is generated and has no variant '64x32'"):
        open_datasets.open_scored_labels(
            make_config(evaluation__variant="64x32"), open_datasets.open_split(make_config(), "validation")
        )
