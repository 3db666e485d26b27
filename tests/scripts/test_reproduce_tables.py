"""Tables from finished workdirs, and the order of runs; trainings are replaced by what they leave behind."""

import csv
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest

from configs.experiments import EXPERIMENTS, Part
from configs.tables import TABLES, rows_for
from scripts import reproduce_tables
from scripts.reproduction.plan import depth_arguments, plan, run_folder, stages_of

ROOT = pathlib.Path(__file__).resolve().parents[2]

STREETS = "configs/streets.py"
ADAPTATION = "configs/streets_source_to_streets.py"
PROTOCOL = {"protocol": "cityscapes-19", "inference": "input 96x192, whole image"}


def finish(root, argument, labels, seed, miou, **more):
    """Leaves what a finished run leaves."""
    workdir = run_folder(root, argument, labels, seed)
    workdir.mkdir(parents=True, exist_ok=True)
    metrics = {"method": {"miou": miou, **PROTOCOL, **more}, "depth": {"abs_rel": 0.25, "rmse": 6.0, "a1": 0.6}}
    (workdir / "metrics.json").write_text(json.dumps(metrics))
    return workdir / "metrics.json"


def run(root, *arguments, table="transfer"):
    return reproduce_tables.main(
        [f"--table={table}", f"--config={STREETS}", "--labels=20", f"--root={root}", *arguments]
    )


@pytest.fixture
def arguments():
    """Of the rows that Streets can run: baseline, transfer, multi-task."""
    return [row.argument for row in rows_for(TABLES["transfer"], STREETS)]


def test_mean_deviation_and_difference_over_seeds(tmp_path, arguments, capsys):
    for seed, (baseline, transfer) in enumerate([(30.0, 34.0), (32.0, 35.0), (34.0, 39.0)]):
        finish(tmp_path, arguments[0], 20, seed, baseline)
        finish(tmp_path, arguments[1], 20, seed, transfer)
    finish(tmp_path, arguments[2], 20, 1, 31.0)
    assert run(tmp_path, f"--output={tmp_path / 'out' / 'table'}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| Supervised baseline | 32.0 ± 2.0 |" in lines
    assert "| SDE transfer | 36.0 ± 2.6 (+4.0) |" in lines
    assert "| + multi-task (PAD) | 31.0 (-1.0) [1 of 3 seeds] |" in lines
    assert "Protocol: cityscapes-19, input 96x192, whole image." in lines
    assert (tmp_path / "out" / "table.md").read_text() in "\n".join(lines) + "\n"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "table.csv").read_text())))
    assert [row["row"] for row in rows] == ["Supervised baseline", "SDE transfer", "+ multi-task (PAD)"]
    assert (rows[1]["miou_mean"], rows[1]["miou_std"], rows[1]["difference"]) == ("36.0000", "2.6458", "4.0000")
    assert (rows[2]["seeds"], rows[2]["miou_std"]) == ("1", "")


def test_depth_scores_stand_beside_those_of_segmentation(tmp_path, capsys):
    row = rows_for(TABLES["depth"], STREETS)[1]
    finish(tmp_path, row.argument, 20, 0, 30.0)
    assert run(tmp_path, "--seeds=0", table="depth") == 0
    assert f"| {row.name} | 30.0 | 0.250 | 6.000 | 0.600 |" in capsys.readouterr().out


def test_depth_scores_are_those_of_the_network_that_rows_share(tmp_path, capsys):
    row = rows_for(TABLES["depth"], STREETS)[3]
    path = finish(tmp_path, row.argument, 20, 0, 30.0)
    path.write_text(json.dumps({"method": json.loads(path.read_text())["method"]}))
    network = tmp_path / "depth_networks" / "depth-transfer_frames-0.01"
    network.mkdir(parents=True)
    (network / "metrics.json").write_text(json.dumps({"depth": {"abs_rel": 0.5, "rmse": 9.0, "a1": 0.3}}))
    assert run(tmp_path, "--seeds=0", table="depth") == 0
    assert f"| {row.name} | 30.0 | 0.500 | 9.000 | 0.300 |" in capsys.readouterr().out


def test_nothing_finished_yet(tmp_path, capsys):
    assert run(tmp_path) == 0
    out = capsys.readouterr().out
    assert "| SDE transfer | – |" in out and "no run is finished" in out


def test_scores_from_elsewhere_stand_beside(tmp_path, arguments, capsys):
    finish(tmp_path, arguments[0], 20, 0, 30.0)
    reference = tmp_path / "paper.csv"
    reference.write_text(
        "row,labels,miou_mean\nSupervised baseline,20,48.75\nSDE transfer,20,51.5\nSDE transfer,30,53\n"
    )
    assert run(tmp_path, "--seeds=0", f"--reference={reference}") == 0
    out = capsys.readouterr().out
    assert "| Supervised baseline | 30.0; reference 48.8 |" in out
    assert "| SDE transfer | –; reference 51.5 |" in out
    assert "| + multi-task (PAD) | – |" in out


def test_own_csv_is_a_reference(tmp_path, arguments, capsys):
    path = finish(tmp_path, arguments[0], 20, 0, 30.0)
    assert run(tmp_path, "--seeds=0", f"--output={tmp_path / 'before'}") == 0
    path.write_text(path.read_text().replace("30.0", "31.0"))
    assert run(tmp_path, "--seeds=0", f"--reference={tmp_path / 'before.csv'}") == 0
    assert "| Supervised baseline | 31.0; reference 30.0 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, message",
    [
        ("row,labels\nSDE transfer,20\n", "should name the columns row, labels, miou_mean; no miou_mean"),
        ("row,labels,miou_mean\nSDE transfr,20,50\n", "line 2: 'SDE transfr' is no row .* did you mean 'SDE transfer'"),
        ("row,labels,miou_mean\nSDE transfer,20,fifty\n", "line 2: labels and miou_mean should be numbers"),
        (None, "cannot be read"),
    ],
)
def test_damaged_reference_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys, text, message):
    reference = tmp_path / "paper.csv"
    if text:
        reference.write_text(text)
    trainings = Trainings(tmp_path)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run(tmp_path, "--run", f"--reference={reference}") == 2
    assert re.search(message, capsys.readouterr().err)
    assert not trainings.started


@pytest.mark.parametrize("other", [{"protocol": "synthia-16"}, {"inference": "input 96x192, scored at 192x384"}])
def test_scores_of_different_protocols_are_not_put_in_one_table(tmp_path, arguments, capsys, other):
    finish(tmp_path, arguments[0], 20, 0, 30.0)
    finish(tmp_path, arguments[1], 20, 0, 31.0, **other)
    assert run(tmp_path) == 2
    assert "scored by different protocols: " in capsys.readouterr().err


def test_damaged_metrics_are_named(tmp_path, arguments, capsys):
    path = finish(tmp_path, arguments[0], 20, 0, 30.0)
    path.write_text('{"method": {"miou"')
    assert run(tmp_path) == 2
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize(
    "argument, message", [("--seeds=0,x", "whole numbers"), ("--sedes=0", "unknown; arguments for the runs look like")]
)
def test_wrong_arguments(tmp_path, capsys, argument, message):
    with pytest.raises(SystemExit):
        run(tmp_path, argument)
    assert message in capsys.readouterr().err


class Trainings:
    """Stands for `start`: records what is asked for, and finishes it."""

    def __init__(self, root, failing=()):
        self.root, self.failing, self.started, self.selected = root, failing, [], (10, 20)

    def __call__(self, config, argument, workdir, overrides, cores=None):
        name = str(workdir.relative_to(self.root))
        self.started.append((name, argument, overrides))
        if any(word in name for word in self.failing):
            return False
        workdir.mkdir(parents=True, exist_ok=True)
        if name.startswith("selections"):
            (workdir / "selection").mkdir()
            for n in self.selected:
                (workdir / "selection" / f"{n}.json").write_text("{}")
        elif "depth_networks" not in name:
            (workdir / "metrics.json").write_text(json.dumps({"method": {"miou": 30.0, **PROTOCOL}}))
        return True


def test_what_is_missing_is_run_after_the_depth_network_that_it_shares(tmp_path, arguments, monkeypatch):
    finish(tmp_path, arguments[0], 20, 0, 30.0)
    trainings = Trainings(tmp_path)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run(tmp_path, "--run", "--seeds=0", "--config.segmentation.steps=7") == 0
    names = [name for name, _, _ in trainings.started]
    depth, transfer, multitask = names  # the baseline is finished
    assert depth == "depth_networks/depth-transfer"
    assert "mix-supervised_depth-transfer_multitask-false" in transfer and "multitask-true" in multitask
    assert all("--config.segmentation.steps=7" in overrides for _, _, overrides in trainings.started)
    shared = "--config.pipeline.stages=('pretrain_depth', 'estimate_depth', 'evaluate')"
    assert shared in trainings.started[0][2]
    for setting in ("depth.workdir", "estimate.workdir"):
        borrowed = f"--config.{setting}={tmp_path / depth}"
        assert [borrowed in overrides for _, _, overrides in trainings.started] == [False, True, True]
    assert trainings.started[1][1] == f"{arguments[1]},labels=20,seed=0"
    trainings.started.clear()
    assert run(tmp_path, "--run", "--seeds=0") == 0
    assert [name for name, _, _ in trainings.started] == [depth]  # which its own pipeline finds finished


def test_rows_whose_depth_network_failed_are_left_and_the_others_run(tmp_path, monkeypatch, capsys):
    trainings = Trainings(tmp_path, failing=("depth_networks",))
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run(tmp_path, "--run", "--seeds=0") == 1
    assert len(trainings.started) == 2 and "mix-supervised_depth-none" in trainings.started[1][0]
    assert "Failed: depth=transfer" in capsys.readouterr().err


def test_a_run_that_fails_shows_the_end_of_its_log(tmp_path, capsys):
    ok = reproduce_tables.start("configs/nowhere.py", "seed=0", tmp_path / "run", [])
    assert not ok
    out = capsys.readouterr().out
    assert "failed; the end of" in out and "configs/nowhere.py: there is no such file" in out
    assert "there is no such file" in (tmp_path / "run" / "log.txt").read_text()


def test_stages_and_depth_networks_of_rows():
    def of(config, argument):
        return depth_arguments(config, argument), stages_of(config, argument)

    own = ("train", "evaluate")
    for config in (STREETS, "configs/cityscapes.py:labels=100"):
        assert of(config, "mix=depth,depth=transfer,multitask=false") == ("depth=transfer", own)
        assert of(config, "mix=depth,depth=transfer,multitask=true") == ("depth=transfer", own)
        assert of(config, "mix=class,depth=none,multitask=false") == (None, own)
        assert of(config, "mix=depth,depth=none,multitask=false") == ("depth=transfer", own)
        assert of(config, "mix=depth,depth=supervised,multitask=false") == ("depth=supervised", own)
        frames = "mix=depth,depth=transfer,multitask=false,frames=0.01"
        assert of(config, frames) == ("depth=transfer,frames=0.01", own)
    both = ("estimate_source_depth", "train", "evaluate")
    for config in (ADAPTATION, "configs/gta5_to_cityscapes.py", "configs/synthia_to_cityscapes.py:classes=13"):
        rows = {row.name: of(config, row.argument) for row in rows_for(TABLES["adaptation_ablation"], config)}
        network = "depth=transfer" if config == ADAPTATION else "depth=feature_distance"
        assert rows["Target alone"] == rows["SD"] == rows["SD + S"] == (None, own)
        assert rows["SD + MTL"] == (network, own) and rows["SD + TDM"] == ("depth=transfer", own)
        assert rows["SD + CDM"] == rows["SD + CDM + TDM + MG"] == ("depth=transfer", both)
        assert rows["All"] == (network, both)


def test_rows_of_domain_adaptation_share_the_depth_of_the_source(tmp_path, monkeypatch):
    trainings = Trainings(tmp_path)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    arguments = ["--table=adaptation_mixing", f"--config={ADAPTATION}", "--labels=20", f"--root={tmp_path}"]
    assert reproduce_tables.main([*arguments, "--run", "--seeds=3"]) == 0
    networks = [name for name, _, _ in trainings.started if name.startswith("depth_networks")]
    assert networks == ["depth_networks/depth-transfer", "depth_networks/source"]
    _, argument, overrides = trainings.started[1]
    assert argument == "seed=3"
    assert "--config.pipeline.stages=('pretrain_source_depth', 'estimate_source_depth')" in overrides
    shared = f"--config.source.workdir={tmp_path / 'depth_networks' / 'source'}"
    with_source = [name for name, _, overrides in trainings.started if shared in overrides]
    assert len(with_source) == 3 and all("cross-depth" in n or "matching-true" in n for n in with_source)


def test_config_that_cannot_run_a_table_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    trainings = Trainings(tmp_path)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run(tmp_path, "--run", table="adaptation") == 2
    assert "config argument 'source' is unknown" in capsys.readouterr().err and not trainings.started


def test_rows_share_a_selection_and_get_its_labels_as_a_file(tmp_path, monkeypatch):
    trainings = Trainings(tmp_path)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    two = ["--labels=10,20", "--seeds=0,1", "--run"]
    assert run(tmp_path, *two, table="selection") == 0
    names = [name for name, _, _ in trainings.started]
    methods = ["entropy", "uncertainty", "diversity", "ds_us"]
    assert names[:5] == ["depth_networks/depth-transfer", *(f"selections/{method}/seed0" for method in methods)]
    assert len(names) == 1 + 2 * (4 + 2 * 5) and len(set(names)) == len(names)
    name, argument, overrides = trainings.started[4]
    assert argument == "selection=ds_us,labels=20,seed=0"
    assert f"--config.depth.workdir={tmp_path / 'depth_networks' / 'depth-transfer'}" in overrides
    assert "--config.pipeline.stages=('select_labels',)" in overrides
    rows = {name: (argument, overrides) for name, argument, overrides in trainings.started[5:]}
    baseline = "mix=supervised,depth=none,multitask=false"
    argument, overrides = rows["mix-supervised_depth-none_multitask-false_selection-ds_us/labels10_seed1"]
    assert argument == f"{baseline},labels=10,seed=1"
    file = tmp_path / "selections" / "ds_us" / "seed1" / "selection" / "10.json"
    assert f"--config.data.labels_file={file}" in overrides
    random = rows["mix-supervised_depth-none_multitask-false/labels10_seed1"][1]
    assert not any("labels_file" in one for one in random)


def test_rows_whose_selection_failed_are_left_and_the_others_run(tmp_path, monkeypatch, capsys):
    trainings = Trainings(tmp_path, failing=("selections/ds_us",))
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run(tmp_path, "--seeds=0", "--run", table="selection") == 1
    rows = [name for name, _, _ in trainings.started if name.startswith("mix")]
    assert len(rows) == 4 and not any("ds_us" in name for name in rows)
    assert "Failed: selection: ds_us, seed 0" in capsys.readouterr().err


def test_selection_that_lacks_a_column_is_a_failure(tmp_path, monkeypatch, capsys):
    """A schedule was given by hand that leaves it out."""
    trainings = Trainings(tmp_path)
    trainings.selected = (20,)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    schedule = "--config.selection.schedule=(5,20)"
    assert run(tmp_path, "--labels=10,20", "--seeds=0", "--run", schedule, table="selection") == 1
    assert "Failed: Diversity, 10 labels, seed 0: no selection of 10" in capsys.readouterr().err


def test_labels_that_are_no_step_of_the_schedule_are_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    trainings = Trainings(tmp_path)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run(tmp_path, "--labels=15,20", "--run", table="selection") == 2
    assert "--labels: 15 is no step of config.selection.schedule, (5, 10, 20)" in capsys.readouterr().err
    assert not trainings.started


def test_a_selection_goes_no_further_than_it_is_wanted(tmp_path):
    parts = (Part("selection", STREETS, (8, 16)), Part("labels", STREETS, (8, 32)))
    given = ("--config.selection.schedule=(8,16,32,64)", "--config.segmentation.steps=7")
    selections = {
        task.name: (task.argument, task.overrides[-2:])
        for task in plan(parts, (0,), lambda _: tmp_path, given)
        if task.name.startswith("selection")
    }
    steps = given[1]
    assert selections["selection: entropy, seed 0"] == (
        "selection=entropy,labels=16,seed=0", ("--config.selection.schedule=(8, 16)", steps)
    )  # fmt: skip
    assert selections["selection: ds_us, seed 0"] == (
        "selection=ds_us,labels=32,seed=0", ("--config.selection.schedule=(8, 16, 32)", steps)
    )  # fmt: skip


def of_dataset(root, *arguments):
    return reproduce_tables.main(
        ["--dataset=camvid", f"--root={root}", f"--records={root / 'camvid.json'}", *arguments]
    )


def test_experiment_is_run_seed_by_seed_and_its_scores_are_kept(tmp_path, monkeypatch):
    root = tmp_path / "camvid"
    trainings = Trainings(root)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert of_dataset(tmp_path, "--run", "--config.data.data_dir=here") == 0
    assert all(overrides[-1] == "--config.data.data_dir=here" for _, _, overrides in trainings.started)
    names = [name for name, _, _ in trainings.started]
    assert names[0] == "depth_networks/depth-transfer" and len(names) == 1 + 6 * 3 * 3
    seeds = [name[-1] for name in names[1:]]
    assert seeds == sorted(seeds)
    runs = json.loads((tmp_path / "camvid.json").read_text())["runs"]
    assert len(runs) == 54 and runs[0]["argument"] == "mix=supervised,depth=none" and runs[0]["miou"] == 30.0
    assert [run["labels"] for run in runs[:9:3]] == [50, 100, 0]

    # Elsewhere, with one run of its own, the others stay; and the own one counts.
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "camvid.json", tmp_path / "elsewhere")
    finish(tmp_path / "elsewhere" / "camvid", "mix=supervised,depth=none", 50, 0, 31.0)
    assert of_dataset(tmp_path / "elsewhere") == 0
    assert of_dataset(tmp_path / "elsewhere") == 0  # once more: it is kept
    again = json.loads((tmp_path / "elsewhere" / "camvid.json").read_text())["runs"]
    assert again[0]["miou"] == 31.0 and again[1:] == runs[1:]


def test_record_tells_how_a_run_was_made(tmp_path):
    path = finish(tmp_path / "camvid", "mix=supervised,depth=none", 50, 0, 31.0, iou={"sky": 90.123, "tree": None})
    path.with_name("commit.txt").write_text("abc1234\n")
    for folder, devices, seconds in (
        ("dataset", "1 x cpu", 6),
        ("segmentation", "4 x GPU", 90),
        ("evaluation", "", 24),
    ):
        (path.parent / folder).mkdir()
        (path.parent / folder / "stage.json").write_text(json.dumps({"seconds": seconds, "devices": devices}))
    os.utime(path.parent / "segmentation" / "stage.json", (1.7e9, 1.7e9))
    assert of_dataset(tmp_path) == 0
    [record] = json.loads((tmp_path / "camvid.json").read_text())["runs"]
    assert record.pop("date") in ("2023-11-14", "2023-11-15")
    assert record == {
        "config": "configs/camvid.py:size=small", "argument": "mix=supervised,depth=none", "labels": 50, "seed": 0,
        "miou": 31.0, "iou": {"sky": 90.12, "tree": None}, "depth": {"abs_rel": 0.25, "rmse": 6.0, "a1": 0.6},
        "protocol": "cityscapes-19, input 96x192, whole image", "minutes": 2.0, "device": "4 x GPU",
        "commit": "abc1234",
    }  # fmt: skip


def test_other_settings_or_seeds_do_not_get_among_the_scores(tmp_path, monkeypatch, capsys):
    trainings = Trainings(tmp_path / "camvid")
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert of_dataset(tmp_path, "--seeds=3", "--run") == 2
    assert "--seeds: the tables are of seeds 0,1,2" in capsys.readouterr().err
    assert of_dataset(tmp_path, "--run", "--seeds=1") == 0
    assert trainings.started[0][1] == "depth=transfer,seed=0"  # a depth network is all seeds'
    trainings.started.clear()
    steps = "--config.segmentation.steps=7"
    assert of_dataset(tmp_path, "--run", steps) == 2
    assert f"camvid.json: its runs were made with other settings ({steps})" in capsys.readouterr().err
    assert of_dataset(tmp_path, "--run", steps, f"--records={tmp_path / 'trial.json'}") == 2
    assert f"settings.json: its runs were made with other settings ({steps})" in capsys.readouterr().err
    assert not trainings.started
    (tmp_path / "camvid.json").write_text('{"settings": [], "runs": [{"config": "a"}]}')
    assert of_dataset(tmp_path) == 2
    assert "a run without" in capsys.readouterr().err


def test_what_failed_before_a_stop_is_said(tmp_path, monkeypatch, capsys):
    def failing(*_):
        time.sleep(0.05)
        return False

    monkeypatch.setattr(reproduce_tables, "start", failing)
    assert run(tmp_path, "--run", "--seeds=0,1", "--minutes=0.001") == 75
    err = capsys.readouterr().err
    assert "Failed: Supervised baseline, 20 labels, seed 0" in err or "Failed: depth=transfer" in err


def test_streets_has_every_table_that_the_results_show(tmp_path):
    experiment = EXPERIMENTS["streets"]
    tasks = plan(experiment.parts, experiment.seeds, lambda config: tmp_path / config[-12:-3], experiment.overrides)
    assert len({task.workdir for task in tasks}) == len(tasks)
    known = set()
    for task in tasks:
        assert set(task.needs) <= known, f"{task.name} comes before what it needs"
        known.add(task.workdir)
    everything = [
        task for task in tasks if "multitask=true" in task.argument and task.name.startswith("Ours, selected")
    ]
    assert {task.name.split(", ")[2] for task in everything} == {"8 labels", "16 labels", "32 labels", "64 labels"}
    assert all("--config.runtime.tensorboard=False" in task.overrides for task in tasks)


def test_several_run_at_once_but_none_before_what_it_needs(tmp_path, monkeypatch):
    trainings, together, most, taken = Trainings(tmp_path), set(), [], []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 4, 7, 8, 9, 10}, raising=False)

    def slow(config, argument, workdir, overrides, cores):
        if cores is None:  # the last one: both others may end before it begins
            assert not together, "one that runs beside others has all cores"
            return trainings(config, argument, workdir, overrides)
        assert not any(cores & others for others in taken), "runs at the same time share a core"
        taken.append(cores)
        together.add(workdir)
        most.append({one.parent.name for one in together})
        time.sleep(0.02)
        done = trainings(config, argument, workdir, overrides)
        together.discard(workdir)
        taken.remove(cores)
        return done

    monkeypatch.setattr(reproduce_tables, "start", slow)
    assert run(tmp_path, "--run", "--seeds=0,1", "--workers=3") == 0
    assert max(map(len, most)) >= 2
    with_depth = [names for names in most if "depth_networks" in names]
    assert with_depth and all(all("depth-none" in name for name in names - {"depth_networks"}) for names in with_depth)


def test_nothing_begins_when_time_is_up(tmp_path, monkeypatch, capsys):
    trainings = Trainings(tmp_path)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run(tmp_path, "--run", "--minutes=0") == 75
    assert not trainings.started and "the same command goes on" in capsys.readouterr().err


def test_a_request_to_stop_ends_the_runs_and_keeps_scores(tmp_path):
    """As a user does it, the script in a process of its own; in place of the pipeline stands one that hangs."""
    here = tmp_path / "here"  # where `python -m` looks first
    (here / "sdeseg_jax").mkdir(parents=True)
    (here / "sdeseg_jax" / "__init__.py").touch()
    (here / "sdeseg_jax" / "main.py").write_text(
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "print('up', flush=True)\ntime.sleep(60)\n"
    )
    finish(tmp_path / "camvid", "mix=supervised,depth=none", 50, 0, 31.0)
    script, records = ROOT / "scripts" / "reproduce_tables.py", tmp_path / "kept.json"
    command = [sys.executable, script, "--dataset=camvid", f"--root={tmp_path}", f"--records={records}"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "--run", "--workers=2"], cwd=here, **silent)
    try:
        while len([log for log in tmp_path.glob("camvid/**/log.txt") if "up" in log.read_text()]) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        assert process.wait(20) == 75
    finally:
        process.kill()
    assert [run["miou"] for run in json.loads(records.read_text())["runs"]] == [31.0]


@pytest.mark.parametrize("argument", ["--labels=20", "--config=configs/streets.py", "--output=x"])
def test_arguments_of_a_table_do_not_go_with_a_dataset(tmp_path, capsys, argument):
    with pytest.raises(SystemExit):
        of_dataset(tmp_path, argument)
    assert "are of a --table" in capsys.readouterr().err


def test_damaged_records_are_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "camvid.json").write_text('{"runs": [')
    trainings = Trainings(tmp_path)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert of_dataset(tmp_path, "--run") == 2
    assert "camvid.json is no file of an experiment" in capsys.readouterr().err and not trainings.started
