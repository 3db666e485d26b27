"""Traces of some training steps, for TensorBoard's profiler and xprof."""

import logging
import pathlib
from collections.abc import Sequence

import jax

log = logging.getLogger(__name__)


class Trace:
    """Writes a trace of the steps start <= step < stop, if all of them are run now."""

    def __init__(self, folder: pathlib.Path, steps: Sequence[int], first: int, total: int):
        """Takes the steps to trace.

        Args:
          folder: to write to.
          steps: (start, stop), or empty for no trace.
          first, total: the training now runs the steps first <= step < total.
        """
        self._folder, self._runs = folder, False
        self._start, self._stop = steps or (-1, -1)
        if steps and not first <= self._start < self._stop <= total:
            message = "config.profile = %s: no trace is written, since this call runs steps %d to %d"
            log.warning(message, tuple(steps), first, total)
            self._start = -1

    def before(self, step: int, state) -> None:
        """Starts the trace before its first step, when all earlier work is done."""
        if step == self._start:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(self._folder))
            self._runs = True

    def after(self, done: int, state) -> None:
        """Ends the trace when its last step is computed."""
        if self._runs and done == self._stop:
            jax.block_until_ready(state)
            jax.profiler.stop_trace()
            self._runs = False
            log.info("trace of steps %d to %d: tensorboard --logdir=%s", self._start, self._stop, self._folder)
