"""A dataset's experiment and the file with its scores."""

import json
import os
import shutil

import pytest
from sdeseg_jax.configs.experiments import EXPERIMENTS

from sdeseg_jax.commands import reproduce_tables
from sdeseg_jax.commands.reproduction.plan import plan
from tests.commands.reproduction.stand_ins import Trainings, finish, run_dataset


def test_experiment_is_run_seed_by_seed_and_its_scores_are_kept(tmp_path, monkeypatch):
    root = tmp_path / "camvid"
    trainings = Trainings(root)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run_dataset(tmp_path, "--run", "--config.data.data_dir=here") == 0
    assert all(overrides[-1] == "--config.data.data_dir=here" for _, _, overrides in trainings.started)
    names = [name for name, _, _ in trainings.started]
    assert names[0] == "depth_networks/depth-transfer" and len(names) == 1 + 6 * 3 * 3
    seeds = [name[-1] for name in names[1:]]
    assert seeds == sorted(seeds)
    runs = json.loads((tmp_path / "camvid.json").read_text())["runs"]
    assert len(runs) == 54 and runs[0]["argument"] == "mix=supervised,depth=none" and runs[0]["miou"] == 30.0
    assert [run["labels"] for run in runs[:9:3]] == [50, 100, 0]

    # On a machine with a run of its own, that one counts and the other records stay.
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "camvid.json", tmp_path / "elsewhere")
    finish(tmp_path / "elsewhere" / "camvid", "mix=supervised,depth=none", 50, 0, 31.0)
    assert run_dataset(tmp_path / "elsewhere") == 0
    assert run_dataset(tmp_path / "elsewhere") == 0  # again: it is kept
    again = json.loads((tmp_path / "elsewhere" / "camvid.json").read_text())["runs"]
    assert again[0]["miou"] == 31.0 and again[1:] == runs[1:]


def test_record_tells_how_a_run_was_made(tmp_path):
    path = finish(tmp_path / "camvid", "mix=supervised,depth=none", 50, 0, 31.0, iou={"sky": 90.123, "tree": None})
    path.with_name("commit.txt").write_text("abc1234\n")
    stages = ("dataset", "1 x cpu", 6), ("segmentation", "4 x GPU", 90), ("evaluation", "", 24)
    for folder, devices, seconds in stages:
        (path.parent / folder).mkdir()
        (path.parent / folder / "stage.json").write_text(json.dumps({"seconds": seconds, "devices": devices}))
    os.utime(path.parent / "segmentation" / "stage.json", (1.7e9, 1.7e9))
    assert run_dataset(tmp_path) == 0
    [record] = json.loads((tmp_path / "camvid.json").read_text())["runs"]
    assert record.pop("date") in ("2023-11-14", "2023-11-15")
    assert record == {
        "config": "configs/camvid.py:size=small,encoder=resnet18_quarter",
        "argument": "mix=supervised,depth=none",
        "labels": 50,
        "seed": 0,
        "miou": 31.0,
        "iou": {"sky": 90.12, "tree": None},
        "depth": {"abs_rel": 0.25, "rmse": 6.0, "a1": 0.6},
        "protocol": "cityscapes-19, input 96x192, whole image",
        "minutes": 2.0,
        "device": "4 x GPU",
        "commit": "abc1234",
    }


def test_other_settings_and_seeds_are_refused(tmp_path, monkeypatch, capsys):
    trainings = Trainings(tmp_path / "camvid")
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run_dataset(tmp_path, "--seeds=3", "--run") == 2
    assert "--seeds: the experiment has only 0,1,2" in capsys.readouterr().err
    assert run_dataset(tmp_path, "--run", "--seeds=1") == 0
    assert trainings.started[0][1] == "depth=transfer,seed=0"  # all seeds share a depth network
    trainings.started.clear()
    steps = "--config.segmentation.steps=7"
    assert run_dataset(tmp_path, "--run", steps) == 2
    assert f"camvid.json: its runs have other settings ({steps})" in capsys.readouterr().err
    assert run_dataset(tmp_path, "--run", steps, f"--records={tmp_path / 'trial.json'}") == 2
    assert f"settings.json: its runs have other settings ({steps})" in capsys.readouterr().err
    assert not trainings.started
    (tmp_path / "camvid.json").write_text('{"settings": [], "runs": [{"config": "a"}]}')
    assert run_dataset(tmp_path) == 2
    assert "a run without" in capsys.readouterr().err


def test_streets_has_every_table_that_the_results_show(tmp_path):
    experiment = EXPERIMENTS["streets"]
    tasks = plan(experiment.parts, experiment.seeds, lambda config: tmp_path / config[-12:-3], experiment.overrides)
    assert len({task.workdir for task in tasks}) == len(tasks)
    known = set()
    for task in tasks:
        assert set(task.needs) <= known, f"{task.name} comes before what it needs"
        known.add(task.workdir)
    everything = [
        task for task in tasks if "multitask=true" in task.argument and task.name.startswith("Full method, selected")
    ]
    assert {task.name.split(", ")[2] for task in everything} == {"8 labels", "16 labels", "32 labels", "64 labels"}
    assert all("--config.runtime.tensorboard=False" in task.overrides for task in tasks)


@pytest.mark.parametrize("argument", ["--labels=20", "--config=configs/streets.py", "--output=x"])
def test_arguments_of_a_table_do_not_go_with_a_dataset(tmp_path, capsys, argument):
    with pytest.raises(SystemExit):
        run_dataset(tmp_path, argument)
    assert "need --table" in capsys.readouterr().err


def test_damaged_records_are_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "camvid.json").write_text('{"runs": [')
    trainings = Trainings(tmp_path)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run_dataset(tmp_path, "--run") == 2
    assert "camvid.json is damaged" in capsys.readouterr().err and not trainings.started
