"""Domain adaptation at its smallest size: the whole pipeline, its interruption, and what it refuses."""

import json
import re
import shutil

import jax
import numpy as np
import pytest
from sdeseg_jax.configs.streets_source_to_streets import get_config

from sdeseg_jax.config import UserError, source_config, validate
from sdeseg_jax.data import datasets
from sdeseg_jax.data.classes import CITYSCAPES, SYNTHIA_13, SYNTHIA_16
from sdeseg_jax.data.disparity_maps import DisparityFolder
from sdeseg_jax.data.input_pipeline import training_batches
from sdeseg_jax.jobs import load_job, train
from sdeseg_jax.runs import labeled_frames, open_datasets
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.training.checkpoints import Checkpoints
from sdeseg_jax.training.initialization import load_variables


@pytest.fixture(scope="module")
def make(data_dir):
    """make(argument) -> tiny config whose batches suit the four virtual devices."""

    def get(argument=""):
        config = get_config(",".join(filter(None, ("size=tiny", argument))))
        config.data.data_dir = data_dir
        config.depth.batch_size = config.segmentation.batch_size = 4
        config.runtime.tensorboard = False
        return config

    return get


@pytest.fixture(scope="module")
def finished(make, tmp_path_factory):
    """Workdir of a finished pipeline."""
    config = make()
    workdir = Workdir(tmp_path_factory.mktemp("run"), config)
    load_job("pipeline")(config, workdir)
    return workdir


def parameters(workdir):
    return jax.tree.leaves(load_variables(workdir.folder("train") / "checkpoints")["params"])


def test_every_stage_leaves_its_results(finished, make):
    metrics = json.loads((finished.root / "metrics.json").read_text())
    assert {"baseline", "method", "depth"} <= set(metrics) and metrics["labels"] == 6
    source = open_datasets.open_source(make())
    assert not DisparityFolder(finished.root / "source" / "disparity", "train").missing(source.index.ids)
    network = load_variables(finished.root / "source" / "depth" / "checkpoints")["params"]
    assert set(network) == {"encoder", "depth_decoder", "pose"}
    lines = [json.loads(line) for line in (finished.folder("train") / "metrics.jsonl").read_text().splitlines()]
    terms = {name for name in lines[-1] if name.startswith("loss/")}
    assert terms == {f"loss/{name}" for name in ("source", "supervised", "cross_domain", "pseudo_label", "total")}
    gap = finished.record("train")["metrics"]["geometric_difference"]
    assert 0 < gap["matched"] < gap["random"] < 0.5
    baseline = (finished.folder("baseline") / "metrics.jsonl").read_text()
    assert "loss/source" not in baseline and "loss/cross_domain" not in baseline


def test_source_depth_is_learned_from_source_video_by_its_own_network(finished, make):
    settings = finished.record("pretrain_source_depth")["config"]
    assert settings["data.options.domain"] == "source" and settings["model.output_stride"] == 32
    assert "data.options.domain" not in finished.record("pretrain_depth")["config"]
    assert finished.record("estimate_source_depth")["metrics"]["frames"] == 32


def test_report_shows_candidates_and_mixes(finished):
    page = (finished.folder("report") / "index.html").read_text()
    assert "Source and target mixed" in page and "cannot be shown" not in page
    assert "depth of the source" in page and "32 labelled frames of streets/train" in page
    order = [float(value) for value in re.findall(r"<figcaption>its disparity, G = ([0-9.]+)", page)]
    assert len(order) == 10 and len(set(order)) > 5
    assert order[:5] == sorted(order[:5]) and order[5:] == sorted(order[5:])


def test_interrupted_training_ends_as_an_uninterrupted_one(finished, make, tmp_path, monkeypatch):
    """Bit-equal, also with matched source frames: their choice is a function of the step."""
    config = make()
    config.source.workdir, config.depth.workdir = str(finished.root), str(finished.root)
    config.pipeline.stages = ("estimate_depth", "train")
    workdir = Workdir(tmp_path / "run", config)
    stop, save = [2], Checkpoints.save

    def interrupting(self, step, state, *args, **kwargs):
        save(self, step, state, *args, **kwargs)
        if stop and step == stop[0]:
            stop.clear()
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", interrupting)
    with pytest.raises(KeyboardInterrupt):
        load_job("pipeline")(config, workdir)
    assert not stop and not workdir.finished("train")
    load_job("pipeline")(config, workdir)
    assert not (workdir.root / "source").exists()  # the other run's is used
    for ours, theirs in zip(parameters(workdir), parameters(finished), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_finished_source_depth_of_another_kind_is_refused(finished, make, tmp_path):
    config = make()
    config.source.workdir = str(finished.root)
    config.source.options.seed = 1
    with pytest.raises(UserError, match=r"config\.source\.options\.seed: 0 there, 1 now"):
        load_job("estimate_source_depth")(config, Workdir(tmp_path / "run", config))
    config = make()
    config.source.depth.workdir = str(finished.root)  # the target's network, of another stride
    with pytest.raises(UserError, match=r"config\.source\.model\.output_stride: 16 there, 32 now"):
        load_job("pretrain_source_depth")(config, Workdir(tmp_path / "run", config))
    config.source.depth.workdir = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"config\.source\.depth\.workdir: .*nowhere/depth holds no finished"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))


def test_source_without_disparity_names_the_job_that_makes_it(finished, make, tmp_path):
    config = make("mix=supervised,depth=none")
    shutil.copytree(finished.folder("estimate_depth"), tmp_path / "with_target" / "disparity")
    message = r"config\.segmentation\.cross_mix.* reads their stored disparity, but .*--job=estimate_source_depth"
    with pytest.raises(UserError, match=message):
        load_job("train")(config, Workdir(tmp_path / "with_target", config))
    config.depth.workdir = str(finished.root)
    config.pipeline.stages = ("estimate_depth", "train")
    with pytest.raises(UserError, match="no 'estimate_source_depth' before 'train'; mixing with source frames"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))
    config.pipeline.stages = ("estimate_source_depth", "train")
    with pytest.raises(UserError, match="no 'pretrain_source_depth' before 'estimate_source_depth'"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))
    assert not (tmp_path / "run").exists()


def test_source_frame_whose_disparity_is_gone_is_named(finished, make, monkeypatch):
    missing = DisparityFolder.missing

    def without_one(self, ids):
        ids = list(ids)
        return [ids[3]] if "source" in str(self.folder) else missing(self, ids)

    monkeypatch.setattr(DisparityFolder, "missing", without_one)
    config = make()
    dataset, workdir = open_datasets.open_training(config), Workdir(finished.root, config)
    labeled = labeled_frames.labeled_frames(config, dataset, workdir)
    message = (
        r"source/disparity/train/train_0000_03\.png does not exist; 1 of 32 frames have no stored disparity\. "
        "--job=estimate_source_depth writes what is missing"
    )
    with pytest.raises(UserError, match=message):
        train.make_streams(config, dataset, labeled, workdir)


@pytest.mark.parametrize(
    "frames, message",
    [
        (4, r"config\.source\.n_candidates: streets/train\[:4\] has 4 labelled frames, fewer than the 5 candidates"),
        (3, r"has 3 labelled frames, fewer than a batch \(config\.segmentation\.batch_size = 4\)"),
    ],
)
@pytest.mark.parametrize("job", ["pipeline", "train"])
def test_fewer_source_frames_than_are_needed(finished, make, tmp_path, job, frames, message):
    config = make("mix=supervised,depth=none")
    config.pipeline.stages = ("estimate_depth", "train")
    config.depth.workdir = config.source.workdir = str(finished.root)
    config.source.split = f"train[:{frames}]"
    workdir = Workdir(tmp_path / "run", config)
    shutil.copytree(finished.folder("estimate_depth"), workdir.folder("estimate_depth"))
    record = workdir.record("estimate_depth")
    record["config"]["depth.workdir"] = str(finished.root)
    write_json(workdir.folder("estimate_depth") / "stage.json", record)
    shutil.copytree(finished.root / "source" / "disparity", tmp_path / "lender" / "source" / "disparity")
    config.source.workdir = str(tmp_path / "lender")
    record = json.loads((tmp_path / "lender" / "source" / "disparity" / "stage.json").read_text())
    record["config"]["data.train_split"] = config.source.split
    write_json(tmp_path / "lender" / "source" / "disparity" / "stage.json", record)
    with pytest.raises(UserError, match=message):
        load_job(job)(config, Workdir(tmp_path / "run", config))
    assert not (tmp_path / "run" / "segmentation").exists()  # the next call may correct it


def test_disparity_is_borrowed_from_a_run_that_borrowed_its_network(finished, make, tmp_path):
    """As with imported weights: the lender has no depth network of its own."""
    shutil.copytree(finished.root / "source" / "disparity", tmp_path / "lender" / "source" / "disparity")
    config = make("mix=supervised,depth=none")
    config.source.workdir, config.depth.workdir = str(tmp_path / "lender"), str(finished.root)
    config.pipeline.stages = ("estimate_depth", "pretrain_source_depth", "estimate_source_depth", "train")
    workdir = Workdir(tmp_path / "run", config)
    load_job("pipeline")(config, workdir)
    assert workdir.finished("train") and not (tmp_path / "run" / "source").exists()
    assert not list((tmp_path / "lender").rglob("*.npy"))  # nothing is written into another run


def test_source_images_of_another_size(make, tmp_path):
    """Matched at one grid all the same."""
    config = make("mix=supervised,depth=none")
    config.source.options.update(height=64, width=128)
    config.data.crop = (32, 64)
    dataset, source = open_datasets.open_training(config), open_datasets.open_source(config)
    workdir = Workdir(tmp_path, config)
    for stage, one in (("estimate_depth", dataset), ("estimate_source_depth", source)):
        folder = DisparityFolder(workdir.folder(stage), one.split)
        for i in one.index.targets:
            folder.write(one.index.ids[i], np.random.default_rng(i).random(one.image_size))
    streams = train.make_streams(config, dataset, labeled_frames.labeled_frames(config, dataset, workdir), workdir)
    batch = next(training_batches(streams, config.data.crop, True, 0))
    assert batch["source"]["image"].shape == batch["pool"]["image"].shape == (4, 32, 64, 3)


def test_source_images_smaller_than_the_crop(finished, make, tmp_path):
    config = make("cross=none,mix=supervised,depth=none")
    config.source.options.update(width=32)
    with pytest.raises(UserError, match=r"config.data.crop: \(32, 64\) is larger than the images .*\(32, 32\)"):
        load_job("train")(config, Workdir(tmp_path / "run", config))
    assert not (tmp_path / "run").exists()


def test_target_frame_whose_disparity_is_gone_is_named(finished, make, tmp_path):
    config = make("mix=supervised,depth=none,cross=class")
    workdir = Workdir(tmp_path, config)
    for stage in ("estimate_depth", "estimate_source_depth"):
        shutil.copytree(finished.folder(stage), workdir.folder(stage))
    (workdir.folder("estimate_depth") / "train" / "train_0002_01.png").unlink()
    dataset = open_datasets.open_training(config)
    labeled = labeled_frames.labeled_frames(config, dataset, workdir)
    with pytest.raises(UserError, match=r"train_0002_01\.png does not exist; .*--job=estimate_depth writes what is"):
        train.make_streams(config, dataset, labeled, workdir)


def test_network_of_another_domain_is_not_used_to_estimate(finished, make, tmp_path):
    config = make()
    config.source.depth.workdir = str(finished.root)
    with pytest.raises(UserError, match=r"config\.source\.model\.output_stride: 16 there, 32 now"):
        load_job("estimate_source_depth")(config, Workdir(tmp_path / "run", config))
    assert not (tmp_path / "run").exists()


def test_errors_of_the_source_name_its_settings(make, tmp_path):
    config = make()
    config.source.options.domain = "sorce"
    with pytest.raises(UserError, match=r"config\.source\.options: StreetsConfig\.domain must be one of"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))
    config = make()
    config.source.depth.supervision = "depth"
    config.source.video.name = "kitti_odometry"
    with pytest.raises(UserError, match="kitti_odometry' is not prepared"):
        load_job("pretrain_source_depth")(config, Workdir(tmp_path / "run", config))


def test_rows_without_source_depth_need_no_source_video(make, tmp_path):
    for argument in ("source=false", "cross=none", "cross=class,matching=false"):
        config = make(f"{argument},mix=supervised,depth=none")
        config.source.video.name = "" if argument == "source=false" else "gta5_video"  # not prepared
        config.pipeline.stages = ("train",)
        workdir = Workdir(tmp_path / argument, config)
        load_job("dataset")(config, workdir)
        expected = {"data"} if argument == "source=false" else {"data", "source"}
        assert set(workdir.record("dataset")["metrics"]) == expected


@pytest.mark.parametrize(
    "argument, cross, candidates",
    [
        ("", "depth", 5),
        ("cross=class", "class", 5),
        ("cross=none", "none", 1),
        ("source=false", "none", 1),
        ("matching=false", "depth", 1),
    ],
)
def test_what_an_argument_implies_for_the_others(argument, cross, candidates):
    config = get_config(argument)
    assert (config.segmentation.cross_mix, config.source.n_candidates) == (cross, candidates)
    assert bool(config.source.name) == (argument != "source=false")
    validate(config)


def test_domains_with_different_classes(make, tmp_path, monkeypatch):
    config = make()
    monkeypatch.setattr(datasets, "stored_classes", lambda builder: SYNTHIA_16)
    message = (
        r"config\.source\.name: 'streets' labels other classes \(synthia-16\) than the target's \(cityscapes-19\); it "
        r"lacks terrain, truck, train\. Train on classes that both have: --config\.data\.protocol=synthia-16 or "
    )
    with pytest.raises(UserError, match=message):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))
    monkeypatch.undo()
    assert open_datasets.open_source(config).classes == CITYSCAPES
    config.data.protocol = "synthia-13"
    assert open_datasets.open_source(config).classes == open_datasets.open_training(config).classes == SYNTHIA_13


def test_target_without_labels_is_refused(make, tmp_path):
    config = make()
    config.data.name = "gta5_video"
    with pytest.raises(UserError, match="config.data.name: 'gta5_video' has no labels; use it to learn depth"):
        open_datasets.class_map(config)
    config = make()
    config.data.labels = 3
    with pytest.raises(UserError, match="config.data.labels: 3 labelled frames are fewer than a batch"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))


@pytest.mark.parametrize(
    "argument, message",
    [
        ("cross=dept", "config argument cross=dept is unknown; did you mean 'depth'"),
        ("source=false,cross=depth", "cross=depth mixes with source images, which source=false leaves out"),
        ("cross=none,matching=true", "matching=true chooses source images to mix with, but none are mixed in"),
        ("matching=maybe", "config argument matching=maybe is unknown; valid: 'auto', 'false', 'true'"),
        ("matchin=true", "config argument 'matchin' is unknown; did you mean 'matching'"),
    ],
)
def test_arguments_that_do_not_go_together(argument, message):
    with pytest.raises(UserError, match=message):
        get_config(argument)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"source.name": ""},
            "config.segmentation.cross_mix: 'depth' mixes with source frames, but config.source.name",
        ),
        ({"source.name": "gta"}, "config.source.name: unknown value 'gta'; did you mean 'gta5'"),
        ({"source.n_candidates": 0}, "config.source.n_candidates: 0 should be 1 to"),
        ({"segmentation.source_weight": -1.0}, "config.segmentation.source_weight: -1.0 should be 0 to"),
    ],
)
def test_settings_that_do_not_work(make, changes, message):
    config = make()
    for key, value in changes.items():
        section, name = key.split(".")
        config[section][name] = value
    with pytest.raises(UserError, match=message):
        validate(config)


def test_jobs_of_a_source_domain_that_there_is_not(make_config, tmp_path):
    for job in ("pretrain_source_depth", "estimate_source_depth"):
        with pytest.raises(UserError, match="config.source.name: empty, so there is no source domain"):
            load_job(job)(make_config(), Workdir(tmp_path / "run"))
        config = make_config(pipeline__stages=(job,))
        with pytest.raises(UserError, match="has stages of a source domain, but config.source.name is empty"):
            load_job("pipeline")(config, Workdir(tmp_path / "run"))


def test_source_config_takes_the_sources_data_and_networks(make):
    config = make()
    config.init.depth_decoder, config.init.encoder = "of the target", "imagenet"
    own = source_config(config)
    assert own.data.options.domain == "source" and own.model.output_stride == 32
    assert own.data.labels_from == "random" and own.init.encoder == "imagenet" and own.init.depth_decoder == ""
    assert "domain" not in config.data.options and config.model.output_stride == 16  # the run's own is as it was
    validate(own)
