"""Stages, times and commands."""

import json

import pytest

from sdeseg_jax.config import default_config
from sdeseg_jax.jobs.reporting.run_facts import newest_command, notices, stage_facts
from sdeseg_jax.report.run_section import StageFacts, duration, run_section
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.workdir import Workdir


@pytest.mark.parametrize("seconds, text", [(0.04, "0.0 s"), (9.96, "10 s"), (599, "599 s"), (3570, "1 h 00 min")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_commands_are_grouped_and_only_own_time_counts(parse):
    stages = [
        StageFacts("dataset", None, "", "made elsewhere"),
        StageFacts("pretrain_depth", 1000.0, "run a", "of another run", own=False),
        StageFacts("baseline", 61.4, "run b <x>"),
        StageFacts("train", 9.0, "run b <x>"),
        StageFacts("evaluate", 1.0),
    ]
    text = parse(run_section(stages, "newest c", {"Host": "here"}, ["id_<1>", "id_2"], {"data.crop": (96, 192)})).text
    for expected in (
        "not recorded",
        "total71 s",
        "baseline, trainrun b <x>",
        "newest c",
        "recorded for evaluate.",
        "Hosthere",
        "The 2 labelled frames",
        "id_<1>",
        "(96, 192)",
    ):
        assert expected in text, expected


@pytest.fixture
def workdir(tmp_path):
    """A workdir with a finished baseline, an unfinished training, and the depth network of another run."""
    config = default_config()
    config.depth.workdir = str(tmp_path / "other")
    workdir = Workdir(tmp_path / "run", config)
    record = {"config": {}, "metrics": {}, "finished": True, "seconds": 5.0}
    write_json(workdir.folder("pretrain_depth") / "stage.json", record)
    write_json(
        workdir.folder("baseline") / "stage.json", record | {"command": "python b", "accepted": ["config.seed: 1"]}
    )
    write_json(workdir.folder("train") / "stage.json", record | {"finished": False})
    return workdir


def test_facts_of_stages(workdir):
    dataset, depth, baseline, train = stage_facts(workdir)
    assert dataset.seconds is None and "before this run" in dataset.remark
    assert not depth.own and str(workdir.folder("pretrain_depth")) in depth.remark
    assert baseline == StageFacts("baseline", 5.0, "python b") and train.remark == "not finished"


def test_newest_command_spells_the_folder_out(workdir):
    assert newest_command(workdir) == ""
    command = "python -m sdeseg_jax.main --config=a.py:x=1 --workdir=run '--config.data.data_dir=a b'"
    (workdir.root / "config.json").write_text(json.dumps({"command": command}))
    assert newest_command(workdir) == command.replace("=run ", f"={workdir.root} ")


def test_notices_of_stages(workdir):
    config = default_config()
    config.pipeline.stages = ("baseline", "train", "evaluate", "report")
    found = notices(config, workdir, ["baseline", "evaluate"], {}, {})
    assert found[0] == "Not finished: train. --job=pipeline runs what is missing."
    assert "no validation frame has a label" in found[1] and "config.seed: 1" in found[2] and len(found) == 3
