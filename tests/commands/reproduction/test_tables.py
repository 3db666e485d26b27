"""Tables of finished workdirs."""

import csv
import io
import json
import re

import pytest
from sdeseg_jax.configs.tables import TABLES, rows_for

from sdeseg_jax.commands import reproduce_tables
from tests.commands.reproduction.stand_ins import STREETS, Trainings, finish, run


def test_mean_deviation_and_difference_over_seeds(tmp_path, arguments, capsys):
    for seed, (baseline, transfer) in enumerate([(30.0, 34.0), (32.0, 35.0), (34.0, 39.0)]):
        finish(tmp_path, arguments[0], 20, seed, baseline)
        finish(tmp_path, arguments[1], 20, seed, transfer)
    finish(tmp_path, arguments[2], 20, 1, 31.0)
    assert run(tmp_path, f"--output={tmp_path / 'out' / 'table'}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| Supervised baseline | 32.0 ± 2.0 |" in lines
    assert "| SDE transfer | 36.0 ± 2.6 (+4.0 ± 1.0) |" in lines
    assert "| + multi-task (PAD) | 31.0 (-1.0) [1 of 3 seeds] |" in lines
    assert "Protocol: cityscapes-19, input 96x192, whole image." in lines
    assert (tmp_path / "out" / "table.md").read_text() in "\n".join(lines) + "\n"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "table.csv").read_text())))
    assert [row["row"] for row in rows] == ["Supervised baseline", "SDE transfer", "+ multi-task (PAD)"]
    names = ("miou_mean", "miou_std", "difference", "difference_std")
    assert [rows[1][name] for name in names] == ["36.0000", "2.6458", "4.0000", "1.0000"]
    assert (rows[2]["seeds"], rows[2]["miou_std"]) == ("1", "")


def test_depth_scores_are_next_to_those_of_segmentation(tmp_path, capsys):
    row = rows_for(TABLES["depth"], STREETS)[1]
    finish(tmp_path, row.argument, 20, 0, 30.0)
    assert run(tmp_path, "--seeds=0", table="depth") == 0
    assert f"| {row.name} | 30.0 | 0.250 | 6.000 | 0.600 |" in capsys.readouterr().out


def test_depth_scores_come_from_the_shared_network(tmp_path, capsys):
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


def test_reference_scores_are_next_to_ours(tmp_path, arguments, capsys):
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
        ("row,labels\nSDE transfer,20\n", "column miou_mean is missing; the first line must name row, labels"),
        ("row,labels,miou_mean\nSDE transfr,20,50\n", "line 2: unknown row .*'SDE transfr'; did you mean 'SDE trans"),
        ("row,labels,miou_mean\nSDE transfer,20,fifty\n", "line 2: labels and miou_mean must be numbers"),
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
    "argument, message", [("--seeds=0,x", "whole numbers"), ("--sedes=0", "is unknown; settings of the runs look like")]
)
def test_wrong_arguments(tmp_path, capsys, argument, message):
    with pytest.raises(SystemExit):
        run(tmp_path, argument)
    assert message in capsys.readouterr().err
