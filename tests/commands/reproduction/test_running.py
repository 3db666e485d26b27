"""Parallel runs on their CPU cores, and how they end."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from sdeseg_jax.commands import reproduce_tables
from sdeseg_jax.commands.reproduction.plan import Task
from sdeseg_jax.commands.reproduction.running import run_tasks, run_to_end, shares_of_cores
from tests.commands.reproduction.stand_ins import Trainings, finish, run

ROOT = pathlib.Path(__file__).resolve().parents[3]


def test_workers_divide_the_cores_among_them(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3, 10)), raising=False)
    assert shares_of_cores(2) == [{3, 4, 5}, {6, 7, 8, 9}]
    assert shares_of_cores(1) == shares_of_cores(8) == []


def test_a_run_without_others_gets_all_cores(tmp_path, monkeypatch):
    """A depth network that all others need, and the last run; a failed run frees its share of the cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    network, given = Task("network", "", "", tmp_path / "network", ()), {}
    rows = [Task(name, "", "", tmp_path / name, (), needs=(network.workdir,)) for name in "abc"]
    both = threading.Barrier(2)

    def starter(config, argument, workdir, overrides, cores):
        given[workdir.name] = cores
        if workdir.name in "ab":
            both.wait(5)
        time.sleep({"a": 0.0, "b": 0.2}.get(workdir.name, 0.0))
        return workdir.name != "a"

    assert run_tasks([network, *rows], starter, 2, None) == ["a"]
    assert given["network"] is None and {*given["a"], *given["b"]} == {0, 1} and given["c"] == given["a"]
    given.clear()
    both.reset()
    assert run_tasks(rows[2:], starter, 2, None) == [] and given == {"c": None}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot bind a process to cores")
def test_a_run_stays_on_its_cores(tmp_path):
    core = min(os.sched_getaffinity(0))
    where, end = tmp_path / "where", tmp_path / "end"
    child = f"import os, pathlib, time\nend = pathlib.Path({str(end)!r})\nwhile not end.exists(): time.sleep(0.01)\n"
    child += f"pathlib.Path({str(where)!r}).write_text(str(os.sched_getaffinity(0)))"
    threading.Timer(0.5, end.touch).start()
    assert run_to_end([sys.executable, "-c", child], {core}) == 0
    assert where.read_text() == str({core})


def test_a_run_that_fails_shows_the_end_of_its_log(tmp_path, capsys):
    ok = reproduce_tables.start("configs/nowhere.py", "seed=0", tmp_path / "run", [])
    assert not ok
    out = capsys.readouterr().out
    assert "failed; the end of" in out and "configs/nowhere.py does not exist" in out
    assert "configs/nowhere.py does not exist" in (tmp_path / "run" / "log.txt").read_text()


def test_failures_before_a_stop_are_reported(tmp_path, monkeypatch, capsys):
    def failing(*_):
        time.sleep(0.05)
        return False

    monkeypatch.setattr(reproduce_tables, "start", failing)
    assert run(tmp_path, "--run", "--seeds=0,1", "--minutes=0.001") == 75
    err = capsys.readouterr().err
    assert "Failed: Supervised baseline, 20 labels, seed 0" in err or "Failed: depth=transfer" in err


def test_several_run_at_once_but_none_before_what_it_needs(tmp_path, monkeypatch):
    trainings, together, most, taken = Trainings(tmp_path), set(), [], []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 4, 7, 8, 9, 10}, raising=False)

    def slow(config, argument, workdir, overrides, cores):
        if cores is None:  # the last run: both others may end before it starts
            assert not together, "a run next to others has all cores"
            return trainings(config, argument, workdir, overrides)
        assert not any(cores & others for others in taken), "simultaneous runs share a core"
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


def test_no_run_starts_when_time_is_up(tmp_path, monkeypatch, capsys):
    trainings = Trainings(tmp_path)
    monkeypatch.setattr(reproduce_tables, "start", trainings)
    assert run(tmp_path, "--run", "--minutes=0") == 75
    assert not trainings.started and "the same command resumes" in capsys.readouterr().err


def test_a_request_to_stop_ends_the_runs_and_keeps_scores(tmp_path):
    """Like a user, with the script in its own process; a program that hangs replaces the pipeline."""
    here = tmp_path / "here"  # first in the search path of `python -m`
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
    assert all(log.with_name("commit.txt").exists() for log in tmp_path.glob("camvid/**/log.txt"))
