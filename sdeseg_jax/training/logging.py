"""Metrics of a training: JSON lines, TensorBoard, its speed, and the console line with the time that is left."""

import errno
import json
import os
import pathlib
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

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

    def __init__(
        self,
        folder: str | pathlib.Path,
        tensorboard: bool = True,
        first_step: int = 0,
        hparams: Mapping[str, Any] | None = None,
    ):
        """Opens the files.

        Args:
          folder: of the training.
          tensorboard: whether to write TensorBoard's files, which needs clu and TensorFlow.
          first_step: where the training stands; lines beyond are dropped.
          hparams: the training's settings by name, for TensorBoard's table of runs; written once per folder.
        """
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

            started_before = any(self.folder.glob("events.out.tfevents.*"))
            self._writer = metric_writers.AsyncMultiWriter([metric_writers.SummaryWriter(str(self.folder))])
            if hparams and not started_before:
                plain = {key: x if isinstance(x, (bool, int, float, str)) else str(x) for key, x in hparams.items()}
                with _disk_errors(self.folder):
                    self._writer.write_hparams(plain)
                    self._writer.flush()  # a later start takes it that they are there

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

    def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Records pictures, uint8 [H, W, 3] by name, for TensorBoard alone."""
        if self._writer:
            with _disk_errors(self.folder):
                self._writer.write_images(step, pictures)

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


class Speed:
    """How fast the steps since the last log were; what does not belong to them is left out by `restart`."""

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        """Counts from now on: the next step is the first."""
        self._since, self._steps, self._images, self._waited = time.monotonic(), 0, 0, 0.0

    def count(self, images: int, waited: float) -> None:
        """Counts a step.

        Args:
          images: of its batch, on all hosts; 0 if it is not made of images.
          waited: seconds that it waited for its batch.
        """
        self._steps, self._images, self._waited = self._steps + 1, self._images + images, self._waited + waited

    def metrics(self) -> dict[str, float]:
        """`seconds_per_step`, `input_wait_share` in [0, 1] and, of images, `images_per_second`; nothing of no steps."""
        if not self._steps:
            return {}
        elapsed = max(time.monotonic() - self._since, 1e-9)
        images = {"images_per_second": self._images / elapsed} if self._images else {}
        return {
            "seconds_per_step": elapsed / self._steps, "input_wait_share": min(1.0, self._waited / elapsed), **images
        }  # fmt: skip


RECENT = 10
"""Intervals between updates that the time left is judged by."""


class ProgressLine:
    """One line of progress with the time left, rewritten in place on a terminal, a line per update in a log file.

    The time left follows from the latest intervals between updates; what came before the first update, compilation for
    the most part, does not count. Of several hosts the first shows it.
    """

    def __init__(self, name: str, total: int, first: int = 0, stream=None):
        stream = stream or sys.stderr
        self._name, self._total, self._first, self._stream = name, total, first, stream
        self._start, self._marks = time.monotonic(), deque(maxlen=RECENT + 1)
        self._rewrites, self._shows = stream.isatty(), is_first()

    def restart(self, step: int) -> None:
        """Judges the time left by what comes after `step` alone."""
        self._marks.clear()
        self._marks.append((time.monotonic(), step))

    def show(self, step: int, details: str = "") -> None:
        """Shows progress after `step` of the total."""
        if not self._shows:
            return
        now = time.monotonic()
        if step > max(self._first, self._marks[-1][1] if self._marks else 0):
            self._marks.append((now, step))
        line = f"{self._name}: {step}/{self._total}  {clock(now - self._start)}{self._left(step)}  {details}".rstrip()
        end = "\n" if not self._rewrites or step >= self._total else ""
        with suppress(OSError):  # of a terminal that was closed; the work goes on
            if self._rewrites:  # a line that wraps would not be erased
                line = "\r\x1b[K" + line[: _columns(self._stream) - 1]
            self._stream.write(line + end)
            self._stream.flush()

    def _left(self, step: int) -> str:
        if step >= self._total or len(self._marks) < 2:
            return ""
        (before, first), (now, last) = self._marks[0], self._marks[-1]
        return f", {clock((now - before) / (last - first) * (self._total - step))} left"


def _columns(stream) -> int:
    """Width of a terminal."""
    with suppress(OSError):
        return os.get_terminal_size(stream.fileno()).columns or 120
    return 120


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any: "2:05", "1:02:05"."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
