"""The progress line on the console, and the speed of a training."""

import os
import sys
import time
from collections import deque
from contextlib import suppress

from sdeseg_jax.training.multi_host import is_first

RECENT = 10
"""Number of latest intervals between updates from which the time left is estimated."""


class Speed:
    """Speed of the steps since `restart`, which is called after each log and whenever other work was done."""

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        """Starts counting with the next step."""
        self._since, self._steps, self._images, self._waited = time.monotonic(), 0, 0, 0.0

    def count(self, images: int, waited: float) -> None:
        """Counts a step.

        Args:
          images: number in its batch, on all hosts; 0 if it has no images.
          waited: seconds that it waited for its batch.
        """
        self._steps, self._images, self._waited = self._steps + 1, self._images + images, self._waited + waited

    def metrics(self) -> dict[str, float]:
        """Returns `seconds_per_step`, `input_wait_share` in [0, 1] and `images_per_second` if any; {} at first."""
        if not self._steps:
            return {}
        elapsed = max(time.monotonic() - self._since, 1e-9)
        found = {"seconds_per_step": elapsed / self._steps, "input_wait_share": min(1.0, self._waited / elapsed)}
        return found | ({"images_per_second": self._images / elapsed} if self._images else {})


class ProgressLine:
    """Progress with the time left, rewritten in place on a terminal, a line per update in a log file.

    The time left is estimated from the latest intervals between updates. Time before the first update, mostly
    compilation, does not count. Of several hosts, the first one shows it.
    """

    def __init__(self, name: str, total: int, first: int = 0, stream=None):
        stream = stream or sys.stderr
        self._name, self._total, self._first, self._stream = name, total, first, stream
        self._start, self._marks = time.monotonic(), deque(maxlen=RECENT + 1)
        self._rewrites, self._shows = stream.isatty(), is_first()

    def restart(self, step: int) -> None:
        """Estimates the time left from the steps after `step` only."""
        self._marks.clear()
        self._marks.append((time.monotonic(), step))

    def show(self, step: int, details: str = "") -> None:
        """Shows the progress after `step` steps."""
        if not self._shows:
            return
        now = time.monotonic()
        if step > max(self._first, self._marks[-1][1] if self._marks else 0):
            self._marks.append((now, step))
        spent = format_duration(now - self._start)
        line = f"{self._name}: {step}/{self._total}  {spent}{self._left(step)}  {details}".rstrip()
        end = "\n" if not self._rewrites or step >= self._total else ""
        with suppress(OSError):  # the terminal may be closed; the work continues
            if self._rewrites:  # a line that wraps would not be erased
                line = "\r\x1b[K" + line[: _columns(self._stream) - 1]
            self._stream.write(line + end)
            self._stream.flush()

    def _left(self, step: int) -> str:
        if step >= self._total or len(self._marks) < 2:
            return ""
        (before, first), (now, last) = self._marks[0], self._marks[-1]
        return f", {format_duration((now - before) / (last - first) * (self._total - step))} left"


def _columns(stream) -> int:
    """Width of a terminal."""
    with suppress(OSError):
        return os.get_terminal_size(stream.fileno()).columns or 120
    return 120


def format_duration(seconds: float) -> str:
    """Formats a duration as minutes and seconds, with hours if there are any: "2:05", "1:02:05"."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
