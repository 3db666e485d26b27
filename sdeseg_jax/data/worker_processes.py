"""Runs a function over many tasks in parallel processes that import nothing heavy.

Not `multiprocessing`: its spawned children import the parent's main module again, which would load JAX and TensorFlow
in each of them (and spawn without end if the main script has no `__name__` guard); forking a process that runs
TensorFlow's threads may deadlock. Each worker is a fresh interpreter that runs this module, reads pickled tasks from
its standard input and writes the answers to its standard output. It exits when its input closes, hence with the
parent, however that ends.
"""

import collections
import concurrent.futures
import contextlib
import importlib
import os
import pathlib
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _serve(name: str):
    """Runs the worker's loop: calls the function `name`, 'module:function', for every task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and closes our input
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not end up among the answers
    module, _, function = name.partition(":")
    function = getattr(importlib.import_module(module), function)
    while True:
        try:
            task = pickle.load(source)
        except EOFError:
            return
        try:
            answer = (True, function(task))
        except Exception as error:  # the parent raises it
            answer = (False, f"{type(error).__name__}: {error}")
        try:
            pickle.dump(answer, sink, protocol=pickle.HIGHEST_PROTOCOL)
            sink.flush()
        except BrokenPipeError:  # the parent is gone
            os._exit(0)


def _start(name: str) -> subprocess.Popen:
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "sdeseg_jax.data.worker_processes", name]
    environment = {**os.environ, **one_thread, "PYTHONPATH": path}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def run_parallel(name: str, tasks: Iterable[Any], processes: int | None = None, ahead: int = 2) -> Iterator[Any]:
    """Yields function(task) in the order of the tasks.

    Args:
      name: 'module:function'; every worker imports the module.
      tasks: picklable arguments.
      processes: number of workers; by default one per CPU.
      ahead: tasks per process whose results may wait in memory for an earlier one.

    Raises:
      RuntimeError: the function failed for a task, or a worker died.
    """
    processes = processes or os.cpu_count() or 1
    started = [_start(name) for _ in range(processes)]
    idle: queue.SimpleQueue = queue.SimpleQueue()
    for worker in started:
        idle.put(worker)

    def run(task):
        worker = idle.get()
        try:
            pickle.dump(task, worker.stdin)
            worker.stdin.flush()
            done, result = pickle.load(worker.stdout)
        except (EOFError, BrokenPipeError) as error:
            raise RuntimeError(f"a worker process died (exit status {worker.poll()}) at {task}") from error
        finally:
            idle.put(worker)
        if not done:
            raise RuntimeError(f"{name} failed at {task}: {result}")
        return result

    try:
        with concurrent.futures.ThreadPoolExecutor(processes) as threads:
            waiting: collections.deque = collections.deque()
            try:
                for task in tasks:
                    waiting.append(threads.submit(run, task))
                    if len(waiting) > ahead * processes:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        for stream in (stream for worker in started for stream in (worker.stdin, worker.stdout)):
            with contextlib.suppress(OSError):  # the process has already ended
                stream.close()
        for worker in started:
            worker.wait()


if __name__ == "__main__":
    _serve(sys.argv[1])
