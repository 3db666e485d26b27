"""Running pipelines, one after another or several at once."""

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

from reproduction.plan import ROOT, Task

STOPPED = 75
"""Exit code of a run that was asked to stop."""

_children: set[subprocess.Popen] = set()
_stopping = threading.Event()


class Stopped(Exception):
    """Runs were asked to stop, or time was up.

    Attributes:
      failed: names of those that had failed before.
    """

    def __init__(self, failed: Sequence[str] = ()):
        """See the attributes."""
        super().__init__("runs were asked to stop")
        self.failed = list(failed)


def shares_of_cores(workers: int) -> list[set[int]]:
    """CPU cores for each of several workers; [] if there are fewer cores than workers, or one worker.

    Trainings that share cores wait for each other: on two cores, two that have one each take a sixth less time.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not 1 < workers <= len(cores):
        return []
    return [set(cores[at * len(cores) // workers : (at + 1) * len(cores) // workers]) for at in range(workers)]


@contextmanager
def on_cores(cores: set[int] | None):
    """Within it, this thread and what it starts run on some of the CPU cores; nothing changes for None."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # of this thread alone; children inherit it
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_to_end(command: list[str], cores: set[int] | None = None, **settings) -> int:
    """Runs a command, on some of the CPU cores or all, and returns its exit code.

    Raises:
      Stopped: it was asked to stop, before or while it ran.
    """
    if _stopping.is_set():
        raise Stopped
    # A session of its own: of Ctrl-C in a terminal it would hear twice, which means to stop at once.
    with on_cores(cores):
        child = subprocess.Popen(command, start_new_session=True, **settings)
    _children.add(child)
    if _stopping.is_set():  # meanwhile
        child.terminate()
    status = child.wait()
    _children.discard(child)
    if status == STOPPED or _stopping.is_set() and status:
        raise Stopped
    return status


def commit() -> str:
    """This project's commit, short, with a "+" if its code differs; $SDESEG_COMMIT where git does not know it."""
    git = ["git", "-C", str(ROOT)]
    try:
        known = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        status = [*git, "status", "--porcelain", "-uno", "--", "sdeseg_jax", "configs", "scripts"]
        changed = subprocess.run(status, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("SDESEG_COMMIT", "unknown")
    return known.stdout.strip() + ("+" if changed.stdout.strip() else "")


@contextmanager
def stop_requests_passed_on():
    """Within it, requests to stop go to all runs, which save and end."""

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
    """Runs one pipeline, its output in a file of its workdir; returns whether it succeeded.

    Args:
      config, argument, workdir, overrides: of the `Task`.
      cores: CPU cores to run on; None for all.

    Raises:
      Stopped: it was asked to stop.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    file, _, given = config.partition(":")
    chosen = f"--config={file}:{','.join(filter(None, (given, argument)))}"
    command = [sys.executable, "-m", "sdeseg_jax.main", chosen, f"--workdir={workdir}", *overrides]
    log, path = workdir / "log.txt", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    (workdir / "commit.txt").write_text(commit() + "\n")  # now: a run may end just when all are asked to stop
    with log.open("a") as stream:
        status = run_to_end(command, cores, stdout=stream, stderr=stream, env=os.environ | {"PYTHONPATH": path})
    if status:
        end = log.read_text(errors="replace").splitlines()[-8:]
        print(f"failed; the end of {log}:\n" + "\n".join(end), flush=True)
    return status == 0


def run_tasks(tasks: Sequence[Task], starter: Callable[..., bool], workers: int, minutes: float | None) -> list[str]:
    """Runs what is not done, each task after what it needs; returns what failed.

    Tasks that need what failed are left.

    Args:
      tasks: in the order to run them.
      starter: as `start`.
      workers: how many run at once.
      minutes: nothing new begins after so many.

    Raises:
      Stopped: runs were asked to stop, or time was up; all have ended.
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
        for task in chosen:  # one that nothing can run beside, such as a depth network, has all cores
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
