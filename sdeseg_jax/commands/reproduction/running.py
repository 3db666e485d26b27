"""Runs pipelines, one after another or several at once."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from sdeseg_jax.commands.reproduction.plan import Task
from sdeseg_jax.config.config_files import PACKAGE

STOPPED = 75
"""Exit code of a run that stopped on request."""

_children: set[subprocess.Popen] = set()
_stopping = threading.Event()


class Stopped(Exception):
    """Runs stopped on request, or time was up.

    Attributes:
      failed: names of runs that had failed before.
    """

    def __init__(self, failed: Sequence[str] = ()):
        super().__init__("stopped on request")
        self.failed = list(failed)


def shares_of_cores(workers: int) -> list[set[int]]:
    """Returns the CPU cores of each worker; [] for one worker, or for fewer cores than workers.

    Trainings that share cores wait for each other: two trainings with a core each take a sixth less time than on both.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not 1 < workers <= len(cores):
        return []
    return [set(cores[at * len(cores) // workers : (at + 1) * len(cores) // workers]) for at in range(workers)]


@contextmanager
def on_cores(cores: set[int] | None):
    """Context in which this thread and its child processes run on some CPU cores; no change for None."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # for this thread only; child processes inherit it
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_to_end(command: list[str], cores: set[int] | None = None, **settings) -> int:
    """Runs a command on some CPU cores (None: all) and returns its exit code.

    Raises:
      Stopped: a stop was requested before or during the run.
    """
    if _stopping.is_set():
        raise Stopped
    # In its own session: Ctrl-C in a terminal would reach it twice, which means to stop at once.
    with on_cores(cores):
        child = subprocess.Popen(command, start_new_session=True, **settings)
    _children.add(child)
    if _stopping.is_set():  # since the check above
        child.terminate()
    status = child.wait()
    _children.discard(child)
    if status == STOPPED or _stopping.is_set() and status:
        raise Stopped
    return status


def commit() -> str:
    """Returns this project's short commit, with "+" if the code differs; without git, $SDESEG_COMMIT."""
    git = ["git", "-C", str(PACKAGE.parent)]
    try:
        if not (PACKAGE.parent / ".git").exists():  # an installed package may lie in the repository of something else
            raise OSError
        known = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        status = [*git, "status", "--porcelain", "-uno", "--", "sdeseg_jax", "configs", "scripts"]
        changed = subprocess.run(status, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("SDESEG_COMMIT", "unknown")
    return known.stdout.strip() + ("+" if changed.stdout.strip() else "")


@contextmanager
def stop_requests_passed_on():
    """Context in which stop signals are passed on to all runs, which save and end."""

    def pass_on(number, _):
        _stopping.set()
        for child in tuple(_children):
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        _stopping.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def start(
    config: str, argument: str, workdir: pathlib.Path, overrides: Sequence[str], cores: set[int] | None = None
) -> bool:
    """Runs one pipeline, with its output in `log.txt` of its workdir; returns whether it succeeded.

    Args:
      config, argument, workdir, overrides: of the `Task`.
      cores: CPU cores to run on; None for all.

    Raises:
      Stopped: on request.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    file, _, given = config.partition(":")
    chosen = f"--config={file}:{','.join(filter(None, (given, argument)))}"
    command = [sys.executable, "-m", "sdeseg_jax.main", chosen, f"--workdir={workdir}", *overrides]
    log, path = workdir / "log.txt", os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    (workdir / "commit.txt").write_text(commit() + "\n")  # first: a stop may come at any time
    with log.open("a") as stream:
        status = run_to_end(command, cores, stdout=stream, stderr=stream, env=os.environ | {"PYTHONPATH": path})
    if status:
        end = log.read_text(errors="replace").splitlines()[-8:]
        print(f"The run failed; the end of {log}:\n" + "\n".join(end), flush=True)
    return status == 0


def run_tasks(tasks: Sequence[Task], starter: Callable[..., bool], workers: int, minutes: float | None) -> list[str]:
    """Runs unfinished tasks, each after those it needs; returns the names of tasks that failed.

    Skips tasks that need a failed one.

    Args:
      tasks: in the order to run them.
      starter: has the interface of `start`.
      workers: number of tasks at once.
      minutes: no task starts after this time; None for no limit.

    Raises:
      Stopped: on request, or because time is up; all runs have ended.
    """
    began, failed, stopped = time.monotonic(), [], []
    free = shares_of_cores(workers)
    left = [task for task in tasks if not task.done]
    unfinished, running = {task.workdir for task in left}, {}

    def run_one(task: Task, alone: bool) -> bool:
        print(task.name, flush=True)
        at, cores = time.monotonic(), None if alone or not free else free.pop(0)
        try:
            done = starter(task.config, task.argument, task.workdir, task.overrides, cores)
        finally:
            if cores:
                free.append(cores)
        print(f"  {task.name}: {'' if done else 'failed after '}{(time.monotonic() - at) / 60:.1f} min", flush=True)
        return done

    def begin(pool: ThreadPoolExecutor) -> None:
        chosen = list(choose())
        for task in chosen:  # a task that runs alone, such as a depth network, gets all cores
            running[pool.submit(run_one, task, len(running) + len(chosen) == 1)] = task

    def choose() -> Iterator[Task]:
        room = workers - len(running)
        for task in tuple(left):
            if room == 0 or (minutes is not None and time.monotonic() - began > 60 * minutes):
                return
            if set(task.needs) & unfinished:
                continue
            left.remove(task)
            if task.file and not task.file[0].exists():
                failed.append(f"{task.name}: {task.file[1]}")
                continue
            room -= 1
            yield task

    def end(future: Future) -> None:
        task = running.pop(future)
        try:
            done = future.result()
        except Stopped:
            stopped.append(task)
            return
        if done:
            unfinished.discard(task.workdir)
        else:
            failed.append(task.name)

    with stop_requests_passed_on(), ThreadPoolExecutor(workers) as pool:
        begin(pool)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                end(future)
            if not stopped:
                begin(pool)
    if stopped or minutes is not None and any(not set(task.needs) & unfinished for task in left):
        raise Stopped(failed)
    return failed
