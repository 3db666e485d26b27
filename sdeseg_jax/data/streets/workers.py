"""Renders clips in parallel processes that import numpy and nothing heavier.

Why not `multiprocessing`: its spawned children import the parent's main module again, which would load JAX and
TensorFlow in every one of them (and never end where the main script has no `__name__` guard); forking a process that
runs TensorFlow's threads may deadlock. Each worker is therefore a fresh interpreter that runs this module, takes tasks
from its standard input and answers on its standard output, pickled. It ends when its input closes, hence with the
parent, however that ends.
"""

import collections
import concurrent.futures
import contextlib
import os
import pathlib
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator

_ROOT = pathlib.Path(__file__).resolve().parents[3]


def _encoded_clip(task: dict) -> list[dict]:
    """Renders one clip; images and labels come back as PNG bytes, which is the larger part of storing them."""
    from sdeseg_jax.data.streets.clips import render_clip
    from sdeseg_jax.data.streets.png import encode_png

    clip = render_clip(**task)
    return [
        {
            "image": encode_png(clip["image"][t]),
            "label": encode_png(clip["label"][t][..., None]),
            "depth": clip["depth"][t][..., None],
            "intrinsics": clip["intrinsics"][t],
            "pose": clip["pose"][t],
        }
        for t in range(task["frames"])
    ]


def _serve():
    """The worker's loop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it closes our input
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not end up among the answers
    while True:
        try:
            task = pickle.load(source)
        except EOFError:
            return
        try:
            answer = (True, _encoded_clip(task))
        except Exception as error:  # reported to the parent, which raises it
            answer = (False, f"{type(error).__name__}: {error}")
        try:
            pickle.dump(answer, sink, protocol=pickle.HIGHEST_PROTOCOL)
            sink.flush()
        except BrokenPipeError:  # nobody waits for it any more
            os._exit(0)


def _start() -> subprocess.Popen:
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return subprocess.Popen(
        [sys.executable, "-m", "sdeseg_jax.data.streets.workers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, **one_thread, "PYTHONPATH": path},
    )  # fmt: skip


def render_clips(tasks: Iterable[dict], processes: int | None = None) -> Iterator[list[dict]]:
    """Renders clips in parallel and yields them in the order of their tasks.

    Args:
      tasks: arguments of `render_clip`, each a dict.
      processes: how many; by default one per CPU.

    Yields:
      per clip the list of its frames: `image` and `label` (PNG bytes), `depth` [H, W, 1] float32, `intrinsics`
      [3, 3] float32, `pose` [4, 4] float64.
    """
    processes = processes or os.cpu_count() or 1
    started = [_start() for _ in range(processes)]
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
            raise RuntimeError(f"a rendering process ended early (exit status {worker.poll()})") from error
        finally:
            idle.put(worker)
        if not done:
            raise RuntimeError(f"rendering {task} failed: {result}")
        return result

    try:
        with concurrent.futures.ThreadPoolExecutor(processes) as threads:
            waiting: collections.deque = collections.deque()
            try:
                for task in tasks:
                    waiting.append(threads.submit(run, task))
                    # Some clips ahead and not all of them: finished clips wait in memory.
                    if len(waiting) > 2 * processes:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        for worker in started:
            for stream in (worker.stdin, worker.stdout):
                with contextlib.suppress(OSError):  # of a process that has already ended
                    stream.close()
        for worker in started:
            worker.wait()


if __name__ == "__main__":
    _serve()
