"""Which CPU cores the runs of tables have."""

import os
import sys
import threading
import time

import pytest

from scripts import reproduce_tables  # noqa: F401  it says where its modules are
from scripts.reproduction.plan import Task
from scripts.reproduction.running import run_tasks, run_to_end, shares_of_cores


def test_workers_divide_the_cores_among_them(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3, 10)), raising=False)
    assert shares_of_cores(2) == [{3, 4, 5}, {6, 7, 8, 9}]
    assert shares_of_cores(1) == shares_of_cores(8) == []


def test_what_runs_alone_has_all_cores(tmp_path, monkeypatch):
    """A depth network that all others wait for, and the last of them; a share that a failed run had is free again."""
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


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not know on which cores it runs")
def test_a_run_stays_on_its_cores(tmp_path):
    core = min(os.sched_getaffinity(0))
    where, end = tmp_path / "where", tmp_path / "end"
    child = f"import os, pathlib, time\nend = pathlib.Path({str(end)!r})\nwhile not end.exists(): time.sleep(0.01)\n"
    child += f"pathlib.Path({str(where)!r}).write_text(str(os.sched_getaffinity(0)))"
    threading.Timer(0.5, end.touch).start()
    assert run_to_end([sys.executable, "-c", child], {core}) == 0
    assert where.read_text() == str({core})
