"""Records of stages: config, time, which settings may differ between two runs in one workdir."""

import pytest

from sdeseg_jax.config import UserError, baseline_config
from sdeseg_jax.jobs import load_job
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.workdir import Workdir, check_stage, outdated_settings


def test_record_of_a_stage(make_config, tmp_path):
    workdir = Workdir(tmp_path)
    assert workdir.record("train") is None and not workdir.finished("train")
    with workdir.stage("train", make_config()) as metrics:
        metrics["labels"] = 6
        assert not workdir.finished("train")
    record = workdir.record("train")
    assert workdir.finished("train") and record["metrics"] == {"labels": 6}
    assert record["config"]["segmentation.batch_size"] == 4 and record["config"]["data.crop"] == [32, 64]
    assert not any(key.startswith(("runtime", "evaluation", "data.data_dir")) for key in record["config"])


@pytest.mark.parametrize(
    "content, what",
    [
        (None, "it should hold an object"),
        ([], "it should hold an object"),
        ({"config": "x"}, "'config' is missing or has another type"),
        ({"metrics": None}, "'metrics' is missing or has another type"),
        ({"finished": "yes"}, "'finished' is missing or has another type"),
        ({"seconds": "65"}, "'seconds' is missing or has another type"),
    ],
)
def test_damaged_record_is_named(make_config, tmp_path, content, what):
    workdir = Workdir(tmp_path)
    with workdir.stage("train", make_config()):
        pass
    path = workdir.folder("train") / "stage.json"
    write_json(path, {**workdir.record("train"), **content} if isinstance(content, dict) else content)
    message = f"{path} is not a stage's record: {what}.*: remove {path.parent} to compute that again"
    with pytest.raises(UserError, match=message):
        check_stage(make_config(), workdir, "train")


@pytest.mark.parametrize("content, what", [(None, "cannot be read"), ("{", "is not valid JSON"), ("{}", "should hold")])
def test_damaged_list_of_annotated_frames_is_named(tmp_path, content, what):
    """The message names the job that writes it again, not a setting that nobody set."""
    workdir, path = Workdir(tmp_path), tmp_path / "segmentation" / "labeled.json"
    path.parent.mkdir()
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=rf"(?s)^{path} {what}.*--job=train with the same --workdir writes it again"):
        workdir.labeled_ids("train")
    write_json(path, {"ids": ["a", "b"]})
    assert workdir.labeled_ids("train") == ["a", "b"]


def test_workdir_of_another_config(make_config, tmp_path):
    workdir = Workdir(tmp_path)
    with workdir.stage("train", make_config()):
        pass
    other = make_config(segmentation__learning_rate=2e-3, data__labels=5)
    with pytest.raises(UserError) as caught, workdir.stage("train", other):
        pytest.fail("the stage ran")
    message = str(caught.value)
    assert f"{tmp_path / 'segmentation'} was made with another config" in message
    assert "config.segmentation.learning_rate: 0.003 there, 0.002 now" in message
    assert "config.data.labels: 6 there, 5 now" in message and len(message.splitlines()) == 4
    assert "another --workdir" in message
    assert workdir.finished("train")  # what is there stays


@pytest.mark.parametrize("job", ["pretrain_depth", "pipeline"])
@pytest.mark.parametrize("finished", [True, False])
def test_jobs_refuse_a_workdir_of_another_config(make_config, tmp_path, job, finished):
    workdir = Workdir(tmp_path)
    try:
        with workdir.stage("pretrain_depth", make_config(depth__learning_rate=3e-4)):
            if not finished:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    with pytest.raises(UserError, match="config.depth.learning_rate: 0.0003 there, 0.001 now"):
        load_job(job)(make_config(depth__learning_rate=1e-3), workdir)
    assert not (tmp_path / "depth" / "checkpoints").exists()


def test_settings_that_change_nothing_may_differ(make_config, tmp_path):
    workdir = Workdir(tmp_path)
    with workdir.stage("pretrain_depth", make_config()):
        pass
    check_stage(make_config(runtime__log_every=7, data__labels=5, segmentation__steps=9), workdir, "pretrain_depth")
    with pytest.raises(UserError, match="config.depth.steps: 4 there, 9 now"):
        check_stage(make_config(depth__steps=9), workdir, "pretrain_depth")


def test_evaluation_of_depth_alone_does_not_depend_on_segmentation(make_config, tmp_path):
    """Runs that share a depth network evaluate it with their own configs."""
    workdir, config = Workdir(tmp_path), make_config(segmentation__steps=9, data__labels=5)
    for metrics, expected in (({"depth": {}}, 0), ({"depth": {}, "method": {}}, 2)):
        with workdir.stage("evaluate", make_config()) as found:
            found.update(metrics)
        assert len(workdir.changes("evaluate", config)) == expected
        assert workdir.changes("evaluate", make_config(depth__steps=9))


def test_baseline_is_compared_with_its_overrides(make_config, tmp_path):
    workdir, config = Workdir(tmp_path), make_config()
    with workdir.stage("baseline", baseline_config(config)):
        pass
    check_stage(config, workdir, "baseline")


@pytest.mark.parametrize(
    "stage, finished, expected",
    [("train", False, 15), ("train", True, 15), ("evaluate", False, 15), ("evaluate", True, 5)],
)
def test_seconds_of_a_continued_stage_add_up(make_config, tmp_path, monkeypatch, stage, finished, expected):
    """A training that runs again only does what is missing; an evaluation starts over."""
    workdir, clock = Workdir(tmp_path), [0.0]
    monkeypatch.setattr("sdeseg_jax.runs.finished_stage_records.time.monotonic", lambda: clock[0])

    def run(seconds, end):
        with workdir.stage(stage, make_config()):
            clock[0] += seconds
            if not end:
                raise KeyboardInterrupt

    try:
        run(10, finished)
    except KeyboardInterrupt:
        assert not workdir.finished(stage)
    run(5, True)
    assert workdir.record(stage)["seconds"] == expected


def test_setting_that_is_newer_than_a_folder_has_its_default_there(make_config, tmp_path):
    workdir = Workdir(tmp_path)
    with workdir.stage("train", make_config()):
        pass
    record = workdir.record("train")
    del record["config"]["data.labels_from"]
    write_json(workdir.folder("train") / "stage.json", record)
    check_stage(make_config(), workdir, "train")
    with pytest.raises(UserError, match="config.data.labels_from: 'random' there, 'selection' now"):
        check_stage(make_config(data__labels_from="selection"), workdir, "train")


@pytest.mark.parametrize("multitask", [True, False])
def test_setting_that_was_split_from_another_has_its_value_there(make_config, tmp_path, multitask):
    config, workdir = make_config(segmentation__pose_learning_rate=0.02), Workdir(tmp_path)
    config.segmentation.update(pretrained_learning_rate=0.02, multitask=multitask)
    with workdir.stage("train", config):
        pass
    record = workdir.record("train")
    del record["config"]["segmentation.pose_learning_rate"]
    write_json(workdir.folder("train") / "stage.json", record)
    check_stage(config, workdir, "train")
    config.segmentation.pose_learning_rate = 0.01
    if multitask:
        with pytest.raises(UserError, match="config.segmentation.pose_learning_rate: 0.02 there, 0.01 now"):
            check_stage(config, workdir, "train")
    else:  # there was no pose network
        check_stage(config, workdir, "train")


def test_folders_from_before_source_domains_are_still_valid(make_config, tmp_path):
    workdir, config = Workdir(tmp_path), make_config()
    stages = {"dataset": config, "train": config, "baseline": baseline_config(config), "evaluate": config}
    for stage, own in stages.items():
        with workdir.stage(stage, own):
            pass
        record = workdir.record(stage)
        for key in ("segmentation.cross_mix", "segmentation.cross_mix_weight", "segmentation.source_weight"):
            record["config"].pop(key, None)
        write_json(workdir.folder(stage) / "stage.json", record)
        assert not any(key.startswith("source") for key in record["config"])
        check_stage(config, workdir, stage)
        assert not outdated_settings(config, workdir, stage)
    with workdir.stage("baseline", baseline_config(config)):  # resumes
        pass
    with pytest.raises(UserError, match="config.source.name: '' there, 'streets' now"):
        check_stage(make_config(source__name="streets", segmentation__cross_mix="depth"), workdir, "train")


def test_selection_matters_to_trainings_that_use_it(make_config, tmp_path):
    workdir = Workdir(tmp_path)
    with workdir.stage("train", make_config()):
        pass
    check_stage(make_config(selection__error_weight=1.0), workdir, "train")
    with workdir.stage("baseline", baseline_config(make_config(data__labels_from="selection"))):
        pass
    with pytest.raises(UserError, match="config.selection.error_weight: 430.0 there, 1.0 now"):
        check_stage(make_config(data__labels_from="selection", selection__error_weight=1.0), workdir, "baseline")
    longer = make_config(data__labels_from="selection", selection__schedule=(2, 4, 6, 8))
    check_stage(longer, workdir, "baseline")
    with pytest.raises(UserError) as caught:
        check_stage(make_config(), workdir, "baseline")
    assert "data.labels_from" in str(caught.value) and "config.selection." not in str(caught.value)
