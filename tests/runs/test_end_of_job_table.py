"""The summary that a job prints, from a workdir made by hand."""

import json
import sys

import numpy as np
import pytest
from sdeseg_jax.configs.streets import get_config

from sdeseg_jax.config import STAGES
from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.evaluation.segmentation_metrics import scores
from sdeseg_jax.jobs import JOBS
from sdeseg_jax.runs.end_of_job_table import WIDTH, results_table, show
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.workdir import Workdir

DEPTH = {"abs_rel": 0.2, "rmse": 5.0, "rmse_log": 0.3, "a1": 0.7}
SEGMENTATION = {"protocol": "cityscapes-19", "inference": "input 96x192, whole image", "pixel_accuracy": 80.0}
SCORES = {
    "depth": DEPTH | {"protocol": "median scaling per image, cap 50 m", "images": 3, "priors": {"mean": DEPTH}},
    "video": {"frames": 6, "photometric": 0.04, "identity": 0.09},
    "baseline": SEGMENTATION | {"miou": 20.0},
    "method": SEGMENTATION | {"miou": 26.5},
    "labels": 12,
}


@pytest.fixture
def config():
    return get_config()


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path / "my run")


@pytest.fixture
def finish(workdir):
    """finish(stage, ...) marks stages as finished, each after 65 seconds, with the scores of an evaluation."""

    def mark(*stages, scores=SCORES):
        for stage in stages:
            record = {"config": {}, "finished": True, "seconds": 65.0, "metrics": scores if stage == "evaluate" else {}}
            write_json(workdir.folder(stage) / "stage.json", record)

    return mark


def test_table_of_a_whole_run(config, workdir, finish):
    finish("dataset", *config.pipeline.stages)
    text = results_table(config, workdir, "pipeline")
    rows = {line.split("  ")[1]: line.split("  ")[2:] for line in text.splitlines() if line.startswith("  ")}
    numbers = {name: " ".join(cells).split() for name, cells in rows.items()}
    assert numbers["baseline"] == ["20.0", "80.0"] and numbers["method"] == ["26.5", "80.0"]
    assert numbers["gain"] == ["+6.5"] and numbers["self-supervised"] == ["0.200", "5.00", "0.300", "0.700"]
    assert numbers["prior: mean depth per pixel"] == numbers["self-supervised"] and numbers["not warped"] == ["0.0900"]
    assert "  protocol: cityscapes-19, input 96x192, whole image\n" in text and "Segmentation (12 labels)" in text
    assert "  protocol: median scaling per image, cap 50 m, 3 frames\n" in text
    assert f"Metrics: {workdir.root / 'metrics.json'}\n" in text
    assert text.endswith(f"Report:  {workdir.folder('report') / 'index.html'}")
    assert "Time:    dataset 1:05, pretrain_depth 1:05, " in text and ", total 7:35\n" in text
    assert all(len(line) <= WIDTH for line in text.splitlines() if str(workdir.root) not in line)


@pytest.mark.parametrize(
    "job, following",
    [
        ("pretrain_depth", "estimate_depth"),
        ("estimate_depth", "train"),  # the baseline is there
        ("train", "evaluate"),  # again: the evaluation is older than this training
        ("evaluate", "report"),
        ("select_labels", "evaluate"),  # not in this pipeline
        ("report", None),
    ],
)
def test_what_to_call_next(config, workdir, finish, job, following):
    finish("dataset", "pretrain_depth", "baseline", "evaluate", job)
    last = results_table(config, workdir, job).splitlines()[-1]
    expected = f"Next:    python -m sdeseg_jax.main --workdir='{workdir.root}' --job={following}"
    assert last == expected if following else not last.startswith("Next:")


def test_the_next_command_is_called_like_this_one(config, workdir, finish, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/sdeseg train", "--workdir=x"])
    finish("dataset", "pretrain_depth", "baseline", "train")
    assert f"\nNext:    sdeseg run --workdir='{workdir.root}' --job=evaluate" in results_table(config, workdir, "train")


def test_a_report_beside_the_pipeline_leaves_finished_stages(config, workdir, finish):
    """As for the rows of tables, whose pipelines end with their scores."""
    config.pipeline.stages = ("train", "evaluate")
    finish("train", "report")
    assert "--job=evaluate" in results_table(config, workdir, "report")
    finish("evaluate")
    assert "Next:" not in results_table(config, workdir, "report")
    assert "--job=evaluate" in results_table(config, workdir, "train")


def test_the_next_stage_has_what_it_needs(config, workdir, finish):
    finish("baseline")  # of a pipeline whose method starts from a depth network
    assert results_table(config, workdir, "baseline").endswith("--job=pretrain_depth")


def test_scores_are_those_of_the_newest_training(config, workdir, finish):
    finish("baseline", "train", "evaluate")
    assert "26.5" in results_table(config, workdir, "evaluate")
    assert "26.5" not in results_table(config, workdir, "train")


@pytest.mark.parametrize(
    "confusion, annotated, numbers, says",
    [
        (
            np.diag([4, 4, 0]),
            2,
            ["100.0", "100.0"],
            "mIoU: mean over 2 of 3 classes, 2 of 3 frames have annotated pixels",
        ),
        (
            np.diag([4, 0, 0]),
            1,
            ["100.0", "100.0", "one", "class"],
            "mean over 1 of 3 classes of which ONE is annotated",
        ),
        (np.zeros((3, 3)), 0, ["null", "null"], "mIoU: not scored: no annotated pixel in 3 frames with a label"),
    ],
)
def test_a_score_says_what_it_is_of(config, workdir, finish, confusion, annotated, numbers, says):
    classes = ClassMap("three", ("road", "car", "train"), ((0, 0, 0),) * 3)
    found = scores(confusion, classes, 3, "whole image", annotated).to_json()
    finish("train", "evaluate", scores={"baseline": found, "method": found, "labels": 2})
    text = results_table(config, workdir, "evaluate")
    rows = {words[0]: words[1:] for words in map(str.split, text.splitlines()) if words}
    assert rows["method"] == rows["baseline"] == numbers and says in text
    assert rows["gain"] == (["null"] if numbers[0] == "null" else ["+0.0"])
    assert all(len(line) <= WIDTH for line in text.splitlines() if str(workdir.root) not in line)


def test_evaluations_during_a_training(config, workdir, finish):
    finish("train")
    lines = [
        {"step": 2, "loss/total": 1.0},
        {"step": 2, "evaluation/score": 30.0, "evaluation/miou": 30.0},
        {"step": 4, "evaluation/score": 25.0, "evaluation/miou": 25.0},
        {"step": 6, "evaluation/score": float("nan"), "evaluation/miou": float("nan")},
    ]
    (workdir.folder("train") / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = [line.split() for line in results_table(config, workdir, "train").splitlines()]
    assert ["During", "training", "(train),", "cityscapes-19,", "whole", "image"] in shown
    assert ["last,", "step", "4", "miou", "25.000"] in shown
    assert ["best,", "step", "2,", "kept", "in", "best/", "miou", "30.000"] in shown


def test_damaged_lines_of_a_training_are_left_out(config, workdir, finish):
    finish("train")
    good = json.dumps({"step": 2, "evaluation/score": 30.0, "evaluation/miou": 30.0})
    damaged = ('{"step": 4, "evaluation/sc', "3", "[]", '{"step": 4, "evaluation/score": "x"}')
    (workdir.folder("train") / "metrics.jsonl").write_text("\n".join((good, *damaged)))
    assert "last, step 2" in results_table(config, workdir, "train")


def test_which_jobs_end_with_a_table(config, workdir, finish, capsys):
    finish("pretrain_depth", "evaluate")
    for job in JOBS:
        show(config, workdir, job)
        assert bool(capsys.readouterr().out) == (job in ("pipeline", *STAGES)), job
    show(config, None, "predict")  # with an exported model, which has no workdir


def test_an_empty_workdir_has_no_summary(config, workdir):
    assert results_table(config, workdir, "pipeline") == ""
