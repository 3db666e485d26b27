"""Domain adaptation at its smallest size: the whole pipeline, its interruption, and what it refuses."""

import json
import re
import shutil

import jax
import numpy as np
import pytest

from configs.streets_source_to_streets import get_config
from sdeseg_jax.config import ConfigError, source_config, validate
from sdeseg_jax.data import datasets
from sdeseg_jax.data.classes import CITYSCAPES, SYNTHIA_13, SYNTHIA_16
from sdeseg_jax.data.disparities import DisparityFolder
from sdeseg_jax.jobs import common, load_job, train
from sdeseg_jax.jobs.workdir import Workdir
from sdeseg_jax.training.checkpoints import Checkpoints
from sdeseg_jax.training.initialization import load_variables

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def make(data_dir):
    """make(argument) -> tiny config whose batches suit the four virtual devices."""

    def get(argument=""):
        config = get_config(",".join(filter(None, ("size=tiny", argument))))
        config.data.data_dir = data_dir
        config.depth.batch_size = config.segmentation.batch_size = 4
        return config

    return get


@pytest.fixture(scope="module")
def finished(make, tmp_path_factory):
    """Workdir of a pipeline that ran through."""
    config = make()
    workdir = Workdir(tmp_path_factory.mktemp("run"), config)
    load_job("pipeline")(config, workdir)
    return workdir


def parameters(workdir):
    return jax.tree.leaves(load_variables(workdir.folder("train") / "checkpoints")["params"])


def test_every_stage_leaves_its_results(finished, make):
    metrics = json.loads((finished.root / "metrics.json").read_text())
    assert {"baseline", "method", "depth"} <= set(metrics) and metrics["labels"] == 6
    source = common.open_source(make())
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
    assert "depth of the source" in page and "Source domain" in page
    order = [float(value) for value in re.findall(r"<figcaption>G = ([0-9.]+)", page)]
    assert len(order) == 10 and page.count("<figcaption>G = ") == 10 and len(set(order)) > 5
    assert order[:5] == sorted(order[:5]) and order[5:] == sorted(order[5:])


def test_interrupted_training_ends_as_an_uninterrupted_one(finished, make, tmp_path, monkeypatch):
    """Bit-equal, with matched source frames: their choice is no state."""
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
    with pytest.raises(ConfigError, match=r"config\.data\.options\.seed: 0 there, 1 now"):
        load_job("estimate_source_depth")(config, Workdir(tmp_path / "run", config))
    config = make()
    config.source.depth.workdir = str(finished.root)  # the target's network, of another stride
    with pytest.raises(ConfigError, match=r"config\.model\.output_stride: 16 there, 32 now"):
        load_job("pretrain_source_depth")(config, Workdir(tmp_path / "run", config))
    config.source.depth.workdir = str(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"config\.source\.depth\.workdir: .*nowhere/depth holds no finished"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))


def test_source_without_disparity_names_the_job_that_makes_it(finished, make, tmp_path):
    config = make("mix=supervised,depth=none")
    shutil.copytree(finished.folder("estimate_depth"), tmp_path / "with_target" / "disparity")
    message = r"config\.segmentation\.cross_mix.* reads their stored disparity, but .*--job=estimate_source_depth"
    with pytest.raises(ConfigError, match=message):
        load_job("train")(config, Workdir(tmp_path / "with_target", config))
    config.depth.workdir = str(finished.root)
    config.pipeline.stages = ("estimate_depth", "train")
    with pytest.raises(ConfigError, match="no 'estimate_source_depth' before 'train', but mixing with source frames"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))
    config.pipeline.stages = ("estimate_source_depth", "train")
    with pytest.raises(ConfigError, match="no 'pretrain_source_depth' before 'estimate_source_depth'"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))
    assert not (tmp_path / "run").exists()


def test_source_frame_whose_disparity_is_gone_is_named(finished, make, monkeypatch):
    missing = DisparityFolder.missing

    def without_one(self, ids):
        ids = list(ids)
        return [ids[3]] if "source" in str(self.folder) else missing(self, ids)

    monkeypatch.setattr(DisparityFolder, "missing", without_one)
    config = make()
    dataset, workdir = common.open_training(config), Workdir(finished.root, config)
    labeled = common.labeled_frames(config, dataset, workdir)
    message = r"(?s)train_0000_03\.png does not exist.*source frames without disparity\. --job=estimate_source_depth"
    with pytest.raises(ConfigError, match=message):
        train.make_streams(config, dataset, labeled, workdir)


def test_fewer_source_frames_than_candidates(finished, make, tmp_path):
    config = make()
    config.pipeline.stages = ("train",)
    config.depth.workdir = config.source.workdir = str(finished.root)
    config.source.split = "train[:4]"
    with pytest.raises(ConfigError, match=r"streets/train\[:4\] has 4 labelled frames, fewer than the 5 of "
                                          r"config\.source\.n_candidates asks for"):  # fmt: skip
        load_job("dataset")(config, Workdir(tmp_path / "run", config))
    config.source.split = "train[:3]"
    with pytest.raises(ConfigError, match=r"has 3 labelled frames, fewer than the 4 of a batch"):
        load_job("dataset")(config, Workdir(tmp_path / "run", config))
    assert not (tmp_path / "run").exists()


def test_domains_with_different_classes(make, tmp_path, monkeypatch):
    config = make()
    monkeypatch.setattr(datasets, "stored_classes", lambda builder: SYNTHIA_16)
    message = (
        r"config\.source\.name: 'streets' labels other classes \(synthia-16\) than the target's \(cityscapes-19\); it "
        r"lacks terrain, truck, train\. Train on classes that both have: --config\.data\.protocol=synthia-16 or "
    )
    with pytest.raises(ConfigError, match=message):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))
    monkeypatch.undo()
    assert common.open_source(config).classes == CITYSCAPES
    config.data.protocol = "synthia-13"
    assert common.open_source(config).classes == common.open_training(config).classes == SYNTHIA_13


def test_target_without_labels_is_refused(make, tmp_path):
    config = make()
    config.data.name = "gta5_video"
    with pytest.raises(ConfigError, match="config.data.name: 'gta5_video' has no labels; it is for learning depth"):
        common.class_map(config)
    config = make()
    config.data.labels = 3
    with pytest.raises(ConfigError, match="config.data.labels: 3 labelled frames are fewer than a batch"):
        load_job("pipeline")(config, Workdir(tmp_path / "run", config))


@pytest.mark.parametrize(
    "argument, message",
    [
        ("cross=dept", "config argument cross=dept is unknown; did you mean 'depth'"),
        ("source=false", "cross=depth mixes with source images, which source=false leaves out"),
        ("cross=none", "matching=true chooses source images to mix with, but cross=none mixes none"),
        ("matchin=true", "config argument 'matchin' is unknown; did you mean 'matching'"),
    ],
)
def test_arguments_that_do_not_go_together(argument, message):
    with pytest.raises(ConfigError, match=message):
        get_config(argument)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"source.name": ""},
            "config.segmentation.cross_mix: 'depth' mixes with source frames, but config.source.name",
        ),
        ({"source.name": "gta"}, "config.source.name: unknown value 'gta'; did you mean 'gta5'"),
        ({"source.n_candidates": 0}, "config.source.n_candidates: 0 should be at least 1"),
        ({"segmentation.source_weight": -1.0}, "config.segmentation.source_weight: -1.0 should not be negative"),
    ],
)
def test_settings_that_do_not_work(make, changes, message):
    config = make()
    for key, value in changes.items():
        section, name = key.split(".")
        config[section][name] = value
    with pytest.raises(ConfigError, match=message):
        validate(config)


def test_jobs_of_a_source_domain_that_there_is_not(make_config, tmp_path):
    for job in ("pretrain_source_depth", "estimate_source_depth"):
        with pytest.raises(ConfigError, match="config.source.name is empty: there is no source domain"):
            load_job(job)(make_config(), Workdir(tmp_path / "run"))


def test_source_config_takes_the_sources_data_and_networks(make):
    config = make()
    config.init.depth_decoder, config.init.encoder = "of the target", "imagenet"
    own = source_config(config)
    assert own.data.options.domain == "source" and own.model.output_stride == 32
    assert own.data.labels_from == "random" and own.init.encoder == "imagenet" and own.init.depth_decoder == ""
    assert "domain" not in config.data.options and config.model.output_stride == 16  # the run's own is as it was
    validate(own)
