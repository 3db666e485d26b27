"""Metrics of a training: JSON lines, TensorBoard and the console line with its ETA."""

import json
import os
import pathlib
import sys
import time
from collections.abc import Mapping

from sdeseg_jax.training.hosts import is_first


class MetricsLog:
    """Writes metrics to `folder/metrics.jsonl` and, with clu, to TensorBoard event files in the same folder.

    The JSON lines are what the report reads: `{"step": ..., "<name>": ...}` per line. Of several hosts the first
    writes.
    """

    def __init__(self, folder: str | pathlib.Path, tensorboard: bool = True, first_step: int = 0):
        self.folder = pathlib.Path(folder)
        self._file = self.folder / "metrics.jsonl"
        self._writer = None
        self._writes = is_first()
        if not self._writes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._drop_from(first_step)
        if tensorboard:
            # clu's writer imports TensorFlow: only here, so that trainings run without it.
            from clu import metric_writers

            self._writer = metric_writers.AsyncMultiWriter([metric_writers.SummaryWriter(str(self.folder))])

    def _drop_from(self, step: int) -> None:
        """After a resume, lines that the interrupted run wrote beyond the checkpoint would stand twice."""
        if self._file.exists():
            lines = [line for line in self._file.read_text().splitlines() if _step_of(line) <= step]
            temporary = self._file.with_name(self._file.name + ".tmp")
            temporary.write_text("".join(line + "\n" for line in lines))
            os.replace(temporary, self._file)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Records metrics after `step` steps."""
        if not self._writes:
            return
        metrics = {name: float(value) for name, value in metrics.items()}
        with self._file.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
        if self._writer:
            self._writer.write_scalars(step, metrics)

    def close(self) -> None:
        """Flushes everything."""
        if self._writer:
            self._writer.close()


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # cut off where the interrupted run ended
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
        self._stream.write(("\r\x1b[K" if self._rewrites else "") + line + end)
        self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
