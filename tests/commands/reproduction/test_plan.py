"""The runs of a table and their order."""

import re

import pytest
from sdeseg_jax.configs.experiments import Part
from sdeseg_jax.configs.tables import TABLES, rows_for

from sdeseg_jax.commands import reproduce_tables
from sdeseg_jax.commands.reproduction.plan import depth_arguments, own_stages, plan
from tests.commands.reproduction.stand_ins import ADAPTATION, STREETS, Trainings, finish, run, run_dataset


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
    assert [name for name, _, _ in trainings.started] == [depth]  # its pipeline skips finished stages


def test_rows_whose_depth_network_failed_are_left_and_the_others_run(tmp_path, monkeypatch, capsys):
    trainings = Trainings(tmp_path, failing=("depth_networks",))
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run(tmp_path, "--run", "--seeds=0") == 1
    assert len(trainings.started) == 2 and "mix-supervised_depth-none" in trainings.started[1][0]
    assert "Failed: depth=transfer" in capsys.readouterr().err


def test_stages_and_depth_networks_of_rows():
    def facts(config, argument):
        return depth_arguments(config, argument), own_stages(config, argument)

    own = ("train", "evaluate")
    for config in (STREETS, "configs/cityscapes.py:labels=100"):
        assert facts(config, "mix=depth,depth=transfer,multitask=false") == ("depth=transfer", own)
        assert facts(config, "mix=depth,depth=transfer,multitask=true") == ("depth=transfer", own)
        assert facts(config, "mix=class,depth=none,multitask=false") == (None, own)
        assert facts(config, "mix=depth,depth=none,multitask=false") == ("depth=transfer", own)
        assert facts(config, "mix=depth,depth=supervised,multitask=false") == ("depth=supervised", own)
        frames = "mix=depth,depth=transfer,multitask=false,frames=0.01"
        assert facts(config, frames) == ("depth=transfer,frames=0.01", own)
    both = ("estimate_source_depth", "train", "evaluate")
    for config in (ADAPTATION, "configs/gta5_to_cityscapes.py", "configs/synthia_to_cityscapes.py:classes=13"):
        rows = {row.name: facts(config, row.argument) for row in rows_for(TABLES["adaptation_ablation"], config)}
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


@pytest.mark.parametrize(
    "table, config, message",
    [
        (
            "adaptation",
            STREETS,
            "--table=adaptation cannot run with --config=configs/streets.py: row '.*': config argument 'source' is "
            "unknown.*Configs that can: gta5_to_cityscapes, streets_source_to_str",
        ),
        (
            "ablation",
            "configs/camvid.py:size=small",
            "--table=ablation cannot run with --config=configs/camvid.py:size=small: row 'Supervised baseline': "
            ".*'multitask' is unknown.*Configs that can: cityscapes, streets$",
        ),
        ("selection", "configs/folder.py", "--config=configs/folder.py: row 'Random': config argument 'depth'"),
        ("mixing", ADAPTATION, "the table has a single domain, but the config has a source domain. Configs that can"),
        ("ablation", "configs/street.py", "configs/street.py does not exist; did you mean 'configs/streets"),
        ("ablation", "configs", "--config=configs is a folder"),
        ("ablation", "README.md", "--config=README.md is not a Python file"),
        ("ablation", ":size=small", "--config=:size=small: the config's name is missing, e.g. --config=streets:size"),
        ("ablation", "configs/tables.py", "--config=configs/tables.py is not a config file"),
        ("ablation", "configs/streets.py:lables=3", "^Error: config argument 'lables' is unknown; did you mean 'lab"),
    ],
)
@pytest.mark.parametrize("flags", [("--run",), ()])
def test_config_that_cannot_run_a_table_is_refused(tmp_path, monkeypatch, capsys, table, config, message, flags):
    trainings = Trainings(tmp_path)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run(tmp_path, f"--config={config}", *flags, table=table) == 2
    output = capsys.readouterr()
    assert re.search(message, output.err) and not output.out and not trainings.started


@pytest.mark.parametrize("flags", [("--run",), ()])
def test_unknown_settings_are_refused(tmp_path, monkeypatch, capsys, flags):
    trainings = Trainings(tmp_path)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    settings = ["--config.segmentation.stepz=3", "--config.segmentation.mix=none", "--config.sed=1"]
    for call in (run, run_dataset):
        status, output = call(tmp_path, *settings, *flags), capsys.readouterr()
        assert status == 2 and not output.out and not trainings.started
        assert "config.segmentation.stepz: no such setting; did you mean 'segmentation.steps'?" in output.err
        assert "config.sed: no such setting" in output.err and "segmentation.mix" not in output.err


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
    """The given schedule leaves it out."""
    trainings = Trainings(tmp_path)
    trainings.selected = (20,)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    schedule = "--config.selection.schedule=(5,20)"
    assert run(tmp_path, "--labels=10,20", "--seeds=0", "--run", schedule, table="selection") == 1
    assert "Failed: Diversity, 10 labels, seed 0: no selection of 10" in capsys.readouterr().err


def test_labels_outside_the_schedule_are_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    trainings = Trainings(tmp_path)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run(tmp_path, "--labels=15,20", "--run", table="selection") == 2
    assert "--labels: 15 is not in config.selection.schedule, (5, 10, 20)" in capsys.readouterr().err
    assert not trainings.started


def test_a_selection_stops_at_the_most_labels_needed(tmp_path):
    parts = (Part("selection", STREETS, (8, 16)), Part("labels", STREETS, (8, 32)))
    given = ("--config.selection.schedule=(8,16,32,64)", "--config.segmentation.steps=7")
    tasks = {task.name: task for task in plan(parts, (0,), lambda _: tmp_path, given)}
    for method, most, schedule in (("entropy", 16, "(8, 16)"), ("ds_us", 32, "(8, 16, 32)")):
        task = tasks[f"selection: {method}, seed 0"]
        assert task.argument == f"selection={method},labels={most},seed=0"
        assert task.overrides[-2:] == (f"--config.selection.schedule={schedule}", given[1])
