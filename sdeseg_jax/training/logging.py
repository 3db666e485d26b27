"""Metrics of a training: JSON lines, TensorBoard and the console line with its ETA."""

import errno
import json
import pathlib
import sys
import time
from collections.abc import Mapping
from contextlib import contextmanager, suppress

from sdeseg_jax.files import disk_problem, write_whole
from sdeseg_jax.training.hosts import is_first

SCORE = "evaluation/score"
"""What an evaluation during training is judged by: higher is better."""


class MetricsLog:
    """Writes metrics to `folder/metrics.jsonl` and, with clu, to TensorBoard event files in the same folder.

    The JSON lines are what the report reads: `{"step": ..., "<name>": ...}` per line. Of several hosts the first
    writes.

    Attributes:
      scores: step -> `evaluation/score` of it, as far as the training had come.
    """

    def __init__(self, folder: str | pathlib.Path, tensorboard: bool = True, first_step: int = 0):
        self.folder = pathlib.Path(folder)
        self._file = self.folder / "metrics.jsonl"
        self._writer = None
        self._writes = is_first()
        lines = self._lines_until(first_step)
        self.scores = {line["step"]: line[SCORE] for line in map(json.loads, lines) if SCORE in line}
        if not self._writes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._file.exists():
            write_whole(self._file, "".join(line + "\n" for line in lines))
        if tensorboard:
            # clu's writer imports TensorFlow: only here, so that trainings run without it.
            from clu import metric_writers

            self._writer = metric_writers.AsyncMultiWriter([metric_writers.SummaryWriter(str(self.folder))])

    def _lines_until(self, step: int) -> list[str]:
        """After a resume, lines that the interrupted run wrote beyond the checkpoint would stand twice."""
        if not self._file.exists():
            return []
        return [line for line in self._file.read_text(errors="replace").splitlines() if _step_of(line) <= step]

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Records metrics after `step` steps."""
        metrics = {name: float(value) for name, value in metrics.items()}
        if SCORE in metrics:
            self.scores[step] = metrics[SCORE]
        if not self._writes:
            return
        with self._file.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
        if self._writer:
            with _disk_errors(self.folder):
                self._writer.write_scalars(step, metrics)

    def close(self) -> None:
        """Flushes everything."""
        if self._writer:
            with _disk_errors(self.folder):
                self._writer.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        try:
            self.close()
        except OSError:
            if kind is None:  # else what led here says more
                raise


@contextmanager
def _disk_errors(folder: pathlib.Path):
    """TensorBoard's writer works in a thread, and wraps what is wrong with the disk."""
    try:
        yield
    except Exception as error:
        if (problem := disk_problem(error)) is None:
            raise
        raise OSError(errno.EIO, problem, str(folder)) from error


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):  # cut off where the interrupted run ended
        return float("inf")


class ProgressLine:
    """One line of progress with ETA, rewritten in place on a terminal, a line per update in a log file.

    Of several hosts the first shows it.
    """

    def __init__(self, name: str, total: int, first: int = 0, stream=sys.stderr):
        self._name, self._total, self._first, self._stream = name, total, first, stream
        self._start = time.monotonic()
        self._rewrites, self._shows = stream.isatty(), is_first()

    def show(self, step: int, details: str = "") -> None:
        """Shows progress after `step` of the total."""
        if not self._shows:
            return
        elapsed = time.monotonic() - self._start
        done = step - self._first
        eta = elapsed / done * (self._total - step) if done else 0.0
        line = f"{self._name}: {step}/{self._total}  {_clock(elapsed)}, {_clock(eta)} left  {details}"
        end = "\n" if not self._rewrites or step >= self._total else ""
        with suppress(OSError):  # of a terminal that was closed; the work goes on
            self._stream.write(("\r\x1b[K" if self._rewrites else "") + line + end)
            self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
