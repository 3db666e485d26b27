"""The job on a workdir made by hand: which sections it writes, and that missing parts do not stop it."""

import json

import numpy as np
import pytest

from sdeseg_jax.config import UserError, baseline_config, default_config
from sdeseg_jax.jobs import report
from sdeseg_jax.jobs.evaluate import write_summary
from sdeseg_jax.runs.config_per_stage import relevant_settings
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.selection_candidates import has_all_steps
from sdeseg_jax.runs.workdir import Workdir


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path / "run <1>")


@pytest.fixture
def finish(workdir):
    """finish(stage, config, **metrics) marks a stage as finished, with one line of training metrics."""

    def mark(stage, config, finished=True, **metrics):
        own = baseline_config(config) if stage == "baseline" else config
        record = {"stage": stage, "finished": finished, "seconds": 1.5, "metrics": metrics}
        write_json(workdir.folder(stage) / "stage.json", record | {"config": relevant_settings(own, stage)})
        (workdir.folder(stage) / "metrics.jsonl").write_text(json.dumps({"step": 4, "loss/total": 1.0}) + "\n")
        write_json(workdir.folder(stage) / "labeled.json", {"ids": ["frame_<1>", "frame_2"]})

    return mark


@pytest.fixture
def make_report(workdir, parse):
    """make_report(config) → PageParser of the report."""

    def make(config):
        report.run_job(config, workdir)
        return parse((workdir.folder("report") / "index.html").read_text())

    return make


def test_sections_are_those_of_finished_stages(workdir, finish, make_report, scores):
    config = default_config()
    finish("baseline", config)
    finish("train", config, finished=False)
    assert make_report(config).ids == ["summary", "curves", "predictions", "run"]

    finish("evaluate", config, baseline=scores["baseline"], labels=2)
    assert make_report(config).ids == ["summary", "curves", "classes", "confusion", "predictions", "run"]

    finish("pretrain_depth", config)
    finish("train", config)
    parsed = make_report(config)
    assert parsed.ids == ["summary", "curves", "classes", "confusion", "depth", "depthmix", "predictions", "run"]
    # Without checkpoints, the report says that the pictures are missing.
    assert parsed.text.count("cannot be shown: no checkpoint folder") == 3
    assert "frame_<1>" in parsed.text and "run <1>" in parsed.text
    assert workdir.record("report")["metrics"]["sections"] == parsed.ids


def test_no_depthmix_section_without_depthmix(finish, make_report):
    config = default_config()
    config.segmentation.mix = "none"
    finish("train", config)
    assert make_report(config).ids == ["summary", "curves", "predictions", "run"]


def test_broken_metrics_leave_out_the_curves(workdir, finish, make_report):
    config = default_config()
    finish("baseline", config)
    (workdir.folder("baseline") / "metrics.jsonl").write_text('{"step')
    assert make_report(config).ids == ["summary", "predictions", "run"]


def test_damaged_selection_is_a_gap(workdir, finish, make_report):
    config = default_config()
    finish("baseline", config)
    finish("select_labels", config, labels={"4": 4})
    (workdir.folder("select_labels") / "4.json").write_text('{"picks')
    assert "selection/4.json is damaged: is not valid JSON" in make_report(config).text
    (workdir.folder("select_labels") / "4.json").unlink()  # as it says
    assert not has_all_steps(config, workdir)


def test_damaged_list_of_annotated_frames_is_named(workdir, finish):
    config = default_config()
    finish("baseline", config)
    path = workdir.folder("baseline") / "labeled.json"
    path.write_text("{")
    with pytest.raises(UserError, match=f"^{path} is not valid JSON.*--job=baseline"):
        report.run_job(config, workdir)


def test_nothing_to_report(workdir, finish):
    config = default_config()
    finish("dataset", config)
    with pytest.raises(UserError, match="no finished training"):
        report.run_job(config, workdir)


def test_workdir_of_another_config(workdir, finish):
    config = default_config()
    finish("train", config)
    config.seed = 1
    with pytest.raises(UserError, match="seed"):
        report.run_job(config, workdir)


def test_prediction_in_batches_drops_the_padding():
    config = default_config()
    config.evaluation.batch_size = 4
    sizes = []

    def predict(variables, images):
        sizes.append(len(images))
        return variables * images, None

    images = np.arange(6, dtype=np.uint8)
    doubled, nothing = report.predict_in_batches(config, predict, 2, images)
    np.testing.assert_array_equal(doubled, 2 * images)
    assert nothing is None and sizes == [4, 4]
    doubled, _ = report.predict_in_batches(config, predict, 2, images / 255)  # as bytes, like those of an evaluation
    np.testing.assert_array_equal(doubled, 2 * images)


def test_short_summary_leaves_confusion_to_the_folder_of_the_evaluation(workdir, scores):
    scores["method"]["confusion"] = [[1]]
    write_summary(workdir, scores)
    written = json.loads((workdir.root / "metrics.json").read_text())
    assert written["method"]["miou"] == 26.0 and written["labels"] == 2 and "confusion" not in written["method"]
