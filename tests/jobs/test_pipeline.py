"""The whole method at its smallest size, once; then interrupted trainings, and stages that run again.

All in one file, because tests of one file share a process, and with it the run and its compiled programs.
"""

import hashlib
import json
import math
import pathlib
import shutil
import time

import jax
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from sdeseg_jax.config import OPTIONAL_STAGES, SETTINGS, UserError, validate
from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.jobs import load_job, pipeline, pretrain_depth, train
from sdeseg_jax.runs import build_networks, end_of_job_table, stored_config
from sdeseg_jax.runs.config_per_stage import relevant_settings, stage_config
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.frame_id_files import read_ids
from sdeseg_jax.runs.workdir import FOLDERS, Workdir
from sdeseg_jax.training.checkpoints import CheckpointError, Checkpoints
from sdeseg_jax.training.training_loop import NonFiniteLossError

OLDER_WORKDIR = pathlib.Path(__file__).parents[1] / "compat" / "workdir_0.1.0"

STAGES = ("dataset", "pretrain_depth", "estimate_depth", "baseline", "train", "evaluate", "report")


@pytest.fixture(scope="module")
def programs():
    """Module of a job -> its compiled step, the newest of this process."""
    return {}


@pytest.fixture(scope="module")
def finished(make_config, tmp_path_factory, programs):
    """Workdir of a finished pipeline."""

    def recording(module):
        def replicate(step, original=module.replicate, **shared):
            programs[module] = original(step, **shared)
            return programs[module]

        return replicate

    workdir = Workdir(tmp_path_factory.mktemp("run"))
    with pytest.MonkeyPatch.context() as context:
        for module in (pretrain_depth, train):
            context.setattr(module, "replicate", recording(module))
        load_job("pipeline")(make_config(runtime__tensorboard=True), workdir)
    return workdir


@pytest.fixture
def copied(finished, tmp_path):
    """copied(stages...) -> new workdir with these finished stages in it."""

    def copy(*stages):
        workdir = Workdir(tmp_path / "run")
        for stage in stages:
            shutil.copytree(finished.folder(stage), workdir.folder(stage))
        return workdir

    return copy


def files(folder, *without):
    """{path: (time of change, hash)} of all files."""
    return {
        path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file() and path not in without
    }


def stored_state(folder):
    """Everything that the newest checkpoint holds, as a tree of arrays."""
    with Checkpoints(folder / "checkpoints") as checkpoints:
        metadata = checkpoints.stored(checkpoints.latest_step())
        return checkpoints.restore(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), metadata))


def logged(folder):
    """Metrics per line, without times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    times = ("seconds_per_step", "input_wait_share", "images_per_second")
    return [{name: value for name, value in line.items() if name not in times} for line in lines]


def assert_same_training(folder, reference):
    """The trainings are bit-equal, and the parameters did move between the two checkpoints."""
    ours, theirs = stored_state(folder), stored_state(reference)
    teacher = {"teacher_params", "teacher_batch_stats"}
    assert set(ours) == {"step", "params", "batch_stats", "opt_state", "reference"} | teacher
    assert jax.tree.structure(ours) == jax.tree.structure(theirs) and ours["step"] == 4
    for (path, mine), other in zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(mine, other, err_msg=jax.tree_util.keystr(path))
    with Checkpoints(folder / "checkpoints") as checkpoints:
        early = checkpoints.restore_variables(step=2)["params"]
    assert all(map(differs, jax.tree.leaves(early["encoder"]), jax.tree.leaves(ours["params"]["encoder"])))
    assert logged(folder) == logged(reference) and [line["step"] for line in logged(folder)] == [2, 4]
    return ours


def differs(a, b):
    return bool(np.any(np.asarray(a) != np.asarray(b)))


def reject(constant):
    pytest.fail(f"{constant} is no JSON")


def test_metrics_have_the_documented_form(finished):
    metrics = json.loads((finished.root / "metrics.json").read_text(), parse_constant=reject)
    assert set(metrics) == {"depth", "video", "baseline", "method", "labels", "seconds"}
    video, motion = metrics["video"], metrics["video"]["ego_motion"]
    assert video["frames"] == 6 and video["photometric"] > 0 and video["identity"] > 0
    assert motion["pairs"] == 12 and 0 <= motion["direction_error"] <= 180 and motion["rotation"] < 2
    assert {"abs_rel", "rmse", "rmse_log", "a1", "prior_abs_rel"} <= set(metrics["depth"])
    assert all(metrics["depth"][name] > 0 for name in ("abs_rel", "rmse", "rmse_log", "prior_abs_rel"))
    assert set(metrics["depth"]["priors"]) == {"mean", "median"} and metrics["depth"]["images"] == 12
    for name in ("baseline", "method"):
        iou = metrics[name]["iou"]
        assert tuple(iou) == CITYSCAPES.names and metrics[name]["protocol"] == "cityscapes-19"
        present = [value for value in iou.values() if value is not None]
        assert 0 < len(present) and all(0 <= value <= 100 for value in present)
        assert metrics[name]["miou"] == pytest.approx(sum(present) / len(present))
    assert metrics["labels"] == 6
    assert set(metrics["seconds"]) >= set(STAGES) - {"report"}
    assert all(value >= 0 for value in metrics["seconds"].values()) and metrics["seconds"]["train"] > 0


def test_everything_is_where_it_belongs(finished):
    assert all(finished.finished(stage) for stage in STAGES) and set(STAGES) == set(FOLDERS) - {
        *OPTIONAL_STAGES,
        "export",
    }
    assert "<html" in (finished.folder("report") / "index.html").read_text()[:500]
    assert len(list((finished.folder("estimate_depth") / "train").glob("*.png"))) == 8 * 4
    for stage in ("pretrain_depth", "baseline", "train"):
        assert [line["step"] for line in logged(finished.folder(stage))] == [2, 4]
        assert list(finished.folder(stage).glob("events.out.tfevents.*"))
        assert all(math.isfinite(value) for line in logged(finished.folder(stage)) for value in line.values())
    terms = lambda stage: {name for name in logged(finished.folder(stage))[0] if name.startswith("loss/")}  # noqa: E731
    assert terms("baseline") == {"loss/supervised", "loss/total"}
    assert terms("train") == {"loss/supervised", "loss/depth", "loss/pseudo_label", "loss/total"}


@pytest.mark.parametrize(
    "stage, what, pictures",
    [
        ("pretrain_depth", "image, predicted and true inverse depth, error", 4),
        ("baseline", "image, truth, prediction", 3),
        ("train", "image, truth, prediction", 3),
    ],
)
def test_tensorboard_reads_validation_frames_settings_and_metrics(finished, stage, what, pictures):
    folder = finished.folder(stage)
    events = EventAccumulator(str(folder)).Reload()
    tags = sorted(events.PluginTagToContent("images"))
    assert len(tags) == 3 and all(tag.startswith(f"{what}/validation_") for tag in tags)
    for tag in tags:
        [event] = events.Tensors(tag)
        width, height = (int(side) for side in tf.make_ndarray(event.tensor_proto)[:2])
        assert event.step == 4 and (height, width) == (32 * pictures, 64)
    stored = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    values = HParamsPluginData.FromString(stored).session_start_info.hparams
    assert values["segmentation.multitask"].bool_value == (stage != "baseline")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for name in ("loss/total", "images_per_second"):
        scalars = [(one.step, float(tf.make_ndarray(one.tensor_proto))) for one in events.Tensors(name)]
        assert scalars == [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines if name in line]


def test_baseline_and_method_use_the_same_saved_labels(finished):
    baseline, method = (read_ids(finished.folder(stage) / "labeled.json") for stage in ("baseline", "train"))
    assert baseline == method and len(set(method)) == 6
    facts = json.loads((finished.folder("train") / "labeled.json").read_text())
    assert (facts["dataset"], facts["split"], facts["seed"]) == ("streets", "train", 0)


def test_second_run_does_nothing(finished, make_config, monkeypatch, capsys):
    summary = finished.root / "metrics.json"
    before, metrics = files(finished.root, summary), json.loads(summary.read_text())
    monkeypatch.setattr("sdeseg_jax.jobs.load_job", lambda stage: pytest.fail(f"{stage} was run again"))
    pipeline.run_job(make_config(), finished)
    assert files(finished.root, summary) == before and json.loads(summary.read_text()) == metrics
    end_of_job_table.show(make_config(), finished, "pipeline")
    printed = capsys.readouterr()
    assert printed.err.count("finished before") == len(STAGES)
    for text in ("self-supervised", "prior: median", "baseline", "method", "gain", str(summary), "index.html"):
        assert text in printed.out


def test_another_config_is_refused_by_every_later_run(finished, make_config):
    before = files(finished.root)
    for job in ("pipeline", "evaluate", "report"):
        with pytest.raises(UserError, match="config.segmentation.teacher_decay: 0.99 there, 0.9 now"):
            load_job(job)(make_config(segmentation__teacher_decay=0.9), finished)
    assert files(finished.root) == before


def test_only_the_missing_disparity_is_made_again(copied, finished, make_config):
    workdir = copied("pretrain_depth", "estimate_depth")
    folder = workdir.folder("estimate_depth") / "train"
    lost = folder / "train_0003_02.png"
    content = lost.read_bytes()
    lost.unlink()
    before = files(folder)
    write_json(workdir.folder("estimate_depth") / "stage.json", workdir.record("estimate_depth") | {"finished": False})
    load_job("estimate_depth")(make_config(), workdir)
    assert workdir.finished("estimate_depth")
    after = files(folder)
    assert {path: value for path, value in after.items() if path != lost} == before
    assert lost.read_bytes() == content


@pytest.mark.parametrize(
    "again, expected",
    [
        ("estimate_depth", ["estimate_depth", "evaluate", "report"]),
        ("train", ["train", "evaluate", "report"]),
        ("report", ["report"]),
    ],
)
def test_pipeline_runs_what_is_unfinished_and_the_summaries_after_it(
    finished, make_config, monkeypatch, again, expected
):
    """An evaluation from before the training ran again would show the scores of the old one."""
    ran, record = [], finished.record
    monkeypatch.setattr(finished, "finished", lambda stage: stage != again)
    monkeypatch.setattr(finished, "record", record)
    monkeypatch.setattr("sdeseg_jax.jobs.load_job", lambda stage: lambda config, workdir: ran.append(stage))
    pipeline.run_job(make_config(), finished)
    assert ran == expected


@pytest.mark.parametrize(
    "later, expected", [("train", ["evaluate", "report"]), ("evaluate", ["report"]), ("report", [])]
)
def test_pipeline_updates_summaries_after_single_jobs(finished, make_config, monkeypatch, later, expected):
    """As after --job=pretrain_depth, --job=evaluate, --job=train."""
    ran, record = [], finished.record
    assert all("ended" in record(stage) for stage in STAGES)
    newer = record(later) | {"ended": time.time() + 60}
    monkeypatch.setattr(finished, "record", lambda stage: newer if stage == later else record(stage))
    monkeypatch.setattr("sdeseg_jax.jobs.load_job", lambda stage: lambda config, workdir: ran.append(stage))
    pipeline.run_job(make_config(), finished)
    assert ran == expected


def wrap_batches(monkeypatch, module, change, program=None):
    """Lets `change(step, batch)` see, replace or refuse the batch of every step of a job.

    Args:
      program: compiled step of the same config to use, which saves seconds; by default the job compiles its own.
    """
    if program is not None:
        monkeypatch.setattr(module, "replicate", lambda step, **shared: program)
    original = module.training_batches

    def wrapped(streams, crop, flip, seed, first, *reading):
        for step, batch in enumerate(original(streams, crop, flip, seed, first, *reading), first):
            yield change(step, batch)

    monkeypatch.setattr(module, "training_batches", wrapped)


def test_interrupted_ssl_training_ends_where_the_whole_one_does(copied, finished, make_config, monkeypatch, programs):
    workdir = copied("pretrain_depth")
    steps = []

    def interrupt(step, batch):
        steps.append(step)
        if step == 3:
            raise KeyboardInterrupt
        return batch

    with monkeypatch.context() as context:
        wrap_batches(context, train, interrupt, programs[train])
        with pytest.raises(KeyboardInterrupt):
            load_job("train")(make_config(), workdir)
    assert steps == [0, 1, 2, 3] and not workdir.finished("train")
    with Checkpoints(workdir.folder("train") / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() == 2
    seconds = workdir.record("train")["seconds"]
    with monkeypatch.context() as context:
        wrap_batches(context, train, lambda step, batch: (steps.append(step), batch)[1], programs[train])
        load_job("train")(make_config(), workdir)
    assert steps[4:] == [2, 3]
    assert workdir.finished("train") and workdir.record("train")["seconds"] > seconds
    state = assert_same_training(workdir.folder("train"), finished.folder("train"))
    for student, teacher in (("params", "teacher_params"), ("batch_stats", "teacher_batch_stats")):
        assert any(map(differs, jax.tree.leaves(state[student]), jax.tree.leaves(state[teacher])))


def test_a_workdir_of_an_older_version_resumes_reports_and_predicts(finished, tmp_path, capsys):
    """Config and records are those that version 0.1.0 wrote before its modules were moved (commit a6961c0)."""
    root = tmp_path / "run"
    shutil.copytree(finished.root, root)
    for stage in ("evaluate", "report"):
        shutil.rmtree(root / FOLDERS[stage])
    shutil.rmtree(root / FOLDERS["train"] / "checkpoints" / "4")
    for path in OLDER_WORKDIR.rglob("*.json"):
        text = path.read_text().replace('"resnet18"', '"resnet10"')  # the tiny encoder of the checkpoints beside them
        (root / path.relative_to(OLDER_WORKDIR)).write_text(text)
    lines = (root / FOLDERS["train"] / "metrics.jsonl").read_text().splitlines(keepends=True)
    (root / FOLDERS["train"] / "metrics.jsonl").write_text(lines[0])

    config = stored_config.get_config(str(root))
    validate(config)
    config.data.data_dir = json.loads((finished.root / "config.json").read_text())["config"]["data"]["data_dir"]
    workdir = Workdir(root, config)
    for stage in ("dataset", "pretrain_depth", "estimate_depth", "baseline", "train"):
        stored = workdir.record(stage)["config"]
        now = relevant_settings(stage_config(config, stage), stage)
        assert stored == {key: now[key] for key in stored}, stage
        assert all(now[key] == SETTINGS[key].default for key in now.keys() - stored.keys()), "added since"
    assert not workdir.finished("train") and workdir.labeled_ids("train") == finished.labeled_ids("train")

    load_job("pipeline")(config, workdir)
    told = capsys.readouterr().err
    assert all(f"{stage}: finished before" in told for stage in ("pretrain_depth", "estimate_depth", "baseline"))
    assert_same_training(workdir.folder("train"), finished.folder("train"))
    assert (workdir.folder("report") / "index.html").stat().st_size > 1e5
    image = np.random.default_rng(0).integers(0, 255, (32, 64, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    load_job("predict")(config, workdir, input=[str(tmp_path / "image.png")], output=str(tmp_path / "out"))
    assert {path.parent.name for path in (tmp_path / "out").glob("*/image.*")} >= {"labels", "overlays", "disparity"}


def test_nan_stops_a_depth_training_which_then_resumes_bit_equal(copied, finished, make_config, monkeypatch, programs):
    workdir = copied()

    def plant(step, batch):
        if step == 2:
            batch["video"]["image"] = batch["video"]["image"].astype(np.float32) / 255
            batch["video"]["image"][1, 10:20, 10:20] = np.nan
        return batch

    with monkeypatch.context() as context:
        wrap_batches(context, pretrain_depth, plant, programs[pretrain_depth])
        with pytest.raises(NonFiniteLossError, match="'loss/depth' is nan at step 3, .* stops, checkpoint 2 is kept"):
            load_job("pretrain_depth")(make_config(runtime__max_skipped_steps=1), workdir)
    assert not workdir.finished("pretrain_depth")
    folder = workdir.folder("pretrain_depth")
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["2"]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(stored_state(folder)))
    with monkeypatch.context() as context:
        wrap_batches(context, pretrain_depth, lambda step, batch: batch, programs[pretrain_depth])
        load_job("pretrain_depth")(make_config(), workdir)
    assert_same_training(folder, finished.folder("pretrain_depth"))


def test_nan_in_one_batch_costs_its_step_alone(copied, finished, make_config, monkeypatch, programs, caplog):
    workdir, seen = copied("pretrain_depth"), []

    def plant(step, batch):
        if step == 2:
            seen.append(step)
            intrinsics = batch["labeled"]["intrinsics"].copy()
            intrinsics[0, 0, 0] = np.nan
            batch["labeled"]["intrinsics"] = intrinsics
        return batch

    with monkeypatch.context() as context:
        wrap_batches(context, train, plant, programs[train])
        load_job("train")(make_config(), workdir)
    # The loss itself may be finite: pixels with undefined coordinates are warped from the border.
    assert seen == [2] and "step 3: 'gradient_norm' is nan; the step is skipped" in caplog.text
    state, whole = stored_state(workdir.folder("train")), stored_state(finished.folder("train"))
    assert state["step"] == 4 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    with Checkpoints(workdir.folder("train") / "checkpoints") as checkpoints:
        before = checkpoints.restore_variables(step=2)["params"]
    # The last step was applied, the skipped one was not, so the weights differ from those of the whole training.
    assert any(map(differs, jax.tree.leaves(before), jax.tree.leaves(state["params"])))
    assert any(map(differs, jax.tree.leaves(whole["params"]), jax.tree.leaves(state["params"])))
    assert [line["skipped"] for line in logged(workdir.folder("train"))] == [0, 1]
    assert all(np.isfinite(value) for line in logged(workdir.folder("train")) for value in line.values())


@pytest.mark.parametrize(
    "setting, value, messages",
    [
        (
            "width",
            0.125,
            ("'encoder' of {} does not fit", "block0.conv1.conv.kernel: (3, 3, 4, 4) in the checkpoint, (3, 3, 8, 8)"),
        ),
        ("decoder_channels", (4, 4, 8, 16, 8), ("its shape is", "The depth network in {} does not fit config.model")),
    ],
)
def test_depth_network_of_another_architecture(finished, make_config, monkeypatch, setting, value, messages):
    """A depth folder that was copied from another run; `train` names what differs."""

    def zeros(network, seed, crop):
        images, key = jax.ShapeDtypeStruct((1, *crop, 3), "float32"), jax.eval_shape(lambda: jax.random.key(0))
        shapes = jax.eval_shape(
            lambda k, x: network.init({"params": k, "dropout": k}, x, method="init_all"), key, images
        )
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), dict(shapes))

    monkeypatch.setattr(train, "random_variables", zeros)
    config = make_config(**{f"model__{setting}": value})
    with pytest.raises(CheckpointError) as caught:
        train.initial_variables(config, build_networks.segmentation_network(config), finished)
    for message in messages:
        assert message.format(finished.folder("pretrain_depth") / "checkpoints") in str(caught.value)
