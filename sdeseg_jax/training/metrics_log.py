"""Metrics of a training as JSON lines and for TensorBoard."""

import errno
import json
import pathlib
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from sdeseg_jax.storage.atomic_files import atomic_write
from sdeseg_jax.storage.disk_errors import disk_problem
from sdeseg_jax.training.multi_host import is_first

SCORE = "evaluation/score"
"""Metric that selects the best weights of a training; higher is better."""


class MetricsLog:
    """Writes metrics to `folder/metrics.jsonl` and, with clu, to TensorBoard event files in the same folder.

    The report reads the JSON lines, `{"step": ..., "<name>": ...}`. Of several hosts, the first one writes.

    Attributes:
      scores: step -> `evaluation/score`, up to the training's current step.
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
          first_step: step that the training starts or resumes at; lines of later steps are dropped.
          hparams: the training's settings by name, for TensorBoard's table of runs; written once per folder.
        """
        self.folder = pathlib.Path(folder)
        self._file = self.folder / "metrics.jsonl"
        self._writer, self._writes = None, is_first()
        lines = self._lines_until(first_step)
        self.scores = {line["step"]: line[SCORE] for line in map(json.loads, lines) if SCORE in line}
        if not self._writes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._file.exists():
            atomic_write(self._file, "".join(line + "\n" for line in lines))
        if tensorboard:
            # Imported here because clu needs TensorFlow, without which trainings run, too.
            from clu import metric_writers

            started_before = any(self.folder.glob("events.out.tfevents.*"))
            self._writer = metric_writers.AsyncMultiWriter([metric_writers.SummaryWriter(str(self.folder))])
            if hparams and not started_before:
                plain = {key: x if isinstance(x, (bool, int, float, str)) else str(x) for key, x in hparams.items()}
                with _disk_errors(self.folder):
                    self._writer.write_hparams(plain)
                    self._writer.flush()  # a resumed training does not write them again

    def _lines_until(self, step: int) -> list[str]:
        """Lines up to a step: a resumed training writes the later ones again."""
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
        """Records pictures, uint8 [H, W, 3] by name, for TensorBoard only."""
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
            if kind is None:  # otherwise the first error says more
                raise


@contextmanager
def _disk_errors(folder: pathlib.Path):
    """Raises OSError for errors of the disk, which TensorBoard's writer thread wraps."""
    try:
        yield
    except Exception as error:
        if (problem := disk_problem(error)) is None:
            raise
        raise OSError(errno.EIO, problem, str(folder)) from error


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):  # the last line of an interrupted run may be incomplete
        return float("inf")
