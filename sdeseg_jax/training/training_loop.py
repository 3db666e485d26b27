"""The loop of every training: step, log, check, evaluate, save; resumes from the last checkpoint."""

import dataclasses
import logging
import math
import pathlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import jax
import numpy as np

from sdeseg_jax.training import stop_signals
from sdeseg_jax.training.checkpoints import CheckpointError, Checkpoints
from sdeseg_jax.training.metrics_log import SCORE, MetricsLog
from sdeseg_jax.training.multi_host import first_says
from sdeseg_jax.training.profiling import Trace
from sdeseg_jax.training.progress_line import ProgressLine, Speed
from sdeseg_jax.training.replication import place
from sdeseg_jax.training.train_state import TrainState

log = logging.getLogger(__name__)

AHEAD = 2
"""Steps that may wait for the devices: enough to keep them busy, few enough to stop soon on request."""

PICTURE_MINUTES = 10.0
"""Minimum time between pictures of the same frames; the end of the training always has some."""


class NonFiniteLossError(FloatingPointError):
    """Too many steps in a row had a NaN or infinite metric; the message names the term and the last checkpoint."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """Steps up to `until` (exclusive) use `step`, for example first with a frozen encoder and then without."""

    until: int
    step: Callable


def run(
    name: str,
    state: TrainState,
    phases: Sequence[Phase],
    make_batches: Callable[[int], Iterator[Any]],
    folder: pathlib.Path,
    runtime,
    evaluate: Callable[[TrainState], dict[str, float]] | None = None,
    watch: Callable[[int, dict[str, float]], None] | None = None,
    profile: Sequence[int] = (),
    same_devices: bool = False,
    pictures: Callable[[TrainState], dict[str, np.ndarray]] | None = None,
    hparams: Mapping[str, Any] | None = None,
) -> TrainState:
    """Trains to the end of the last phase, from the newest checkpoint in `folder/checkpoints` if there is one.

    Beside the checkpoints, it writes `metrics.jsonl`, TensorBoard's files, and the best evaluation's weights (`best/`).

    Args:
      name: for the progress line.
      state: of a new training; donated.
      phases: in order; each phase's `step(state, batch) -> (state, metrics)` runs on all devices.
      make_batches: first step -> iterator of host batches from that step on.
      folder: of this training.
      runtime: `config.runtime`: how often to log, to save (by steps and by time), to evaluate.
      evaluate: state -> metrics with "score" (higher is better), or {} if there is nothing to score; every
        `runtime.evaluate_every` steps if that is not 0.
      watch: called with the logged metrics; may warn, or raise to stop.
      profile: (start, stop): a trace of the steps start <= step < stop is written to `profile/` in the folder.
      same_devices: whether to refuse another number of devices, because it would change the results.
      pictures: state -> pictures for TensorBoard, uint8 [H, W, 3] by name. Called at evaluations, or else at
        checkpoints, at most every `PICTURE_MINUTES`, and at the end. After an error it warns and draws no more.
      hparams: settings by name, for TensorBoard.

    Returns:
      The state at the end.

    Raises:
      NonFiniteLossError: `runtime.max_skipped_steps` steps in a row had a NaN or infinite metric; none was applied.
      CheckpointError: the checkpoint does not fit or is from another number of devices, or the disk is full.
      stop_signals.Stopped: on request, after the state is saved.
      Exception: from `make_batches`, after the state is saved.
    """
    with Checkpoints(folder / "checkpoints", runtime.keep_checkpoints, owner=True) as checkpoints:
        if not checkpoints.is_new():
            state = checkpoints.restore(state)
            if same_devices:
                _check_devices(checkpoints, int(state.step))
        with MetricsLog(folder, runtime.tensorboard, int(state.step), hparams) as metrics_log:
            functions = evaluate if runtime.evaluate_every else None, watch, pictures
            training = _Training(name, place(state), phases, checkpoints, metrics_log, runtime, *functions)
            return training.run(make_batches, Trace(folder / "profile", profile, training.done, training.total))


def _check_devices(checkpoints: Checkpoints, step: int) -> None:
    devices = checkpoints.facts(step).get("devices")
    if devices not in (None, jax.device_count()):
        raise CheckpointError(
            f"{checkpoints.folder} was trained on {devices} devices, now there are {jax.device_count()}. With "
            "config.model.sync_batch_norm=False every device normalises its own share of the batch, so that another "
            "number of devices changes the results. Use as many devices as before, or accept this with --changed=keep"
        )


class _Training:
    """A running training: `state` after `done` of `total` steps."""

    def __init__(self, name, state, phases, checkpoints, metrics_log, runtime, evaluate, watch, pictures):
        self.state, self.done, self.total = state, int(state.step), phases[-1].until
        self._phases, self._checkpoints, self._log, self._runtime = phases, checkpoints, metrics_log, runtime
        self._evaluate, self._watch = evaluate, watch
        self._draws, self._pictures = runtime.tensorboard and pictures is not None, pictures
        self._progress = ProgressLine(name, self.total, self.done)
        self._speed, self._compiled = Speed(), None  # the phase whose step was called last
        self._name, self._pending, self._skipped = name, [], 0
        self._saved_at = self._pictured_at = time.monotonic()

    def run(self, make_batches, trace: Trace) -> TrainState:
        if self._is_due(self.done) and self.done not in self._log.scores:
            self._score()  # it was stopped between a save and its evaluation
        if (self._log.folder / "best").is_dir():
            with Checkpoints(self._log.folder / "best", keep=1, owner=True) as exported:
                exported.delete_after(self.done)  # from an earlier training that got further
        batches = make_batches(self.done) if self.done < self.total else iter(())
        queue: deque = deque()
        with stop_signals.requests_wait(True):
            while self.done < self.total:
                asked = time.monotonic()
                batch = self._next(batches)
                waited = time.monotonic() - asked
                trace.before(self.done, self.state)
                metrics = self._step(batch, waited)
                trace.after(self.done, self.state)
                self._pending.append(metrics)
                queue.append(metrics)
                if len(queue) > AHEAD:
                    jax.block_until_ready(queue.popleft())
                self._after_step()
            self._checkpoints.wait()
        return self.state

    def _step(self, batch: Any, waited: float) -> dict:
        """Does a step. The first one of a phase compiles: it is waited for and does not count for the speed."""
        phase = next(phase for phase in self._phases if self.done < phase.until)
        compiles, self._compiled = phase is not self._compiled, phase
        if compiles:
            self._progress.show(self.done, "compiling …")
        self.state, metrics = phase.step(self.state, batch)
        self.done += 1
        if compiles:
            jax.block_until_ready(metrics)
            self._progress.restart(self.done)
            self._speed.restart()
        else:
            self._speed.count(_images(batch), waited)
        return metrics

    def _next(self, batches: Iterator[Any]) -> Any:
        try:
            return next(batches)
        except Exception:
            if jax.process_count() == 1:  # saving needs all hosts, and the others do not know of the error
                with suppress(CheckpointError, NonFiniteLossError):
                    self._flush()
                    self._save()
                    self._checkpoints.wait()
            raise

    def _after_step(self) -> None:
        runtime, done = self._runtime, self.done
        stops = stop_signals.requested()
        evaluates = self._is_due(done)
        saves = done % runtime.checkpoint_every == 0 or done == self.total or stops
        if done % runtime.log_every == 0 or saves or evaluates:
            self._flush()
            late = time.monotonic() - self._saved_at > 60 * runtime.checkpoint_minutes
            saves = saves or (runtime.checkpoint_minutes > 0 and first_says(late))
        if saves or evaluates:
            self._save()
        if stops:
            self._checkpoints.wait()
            raise stop_signals.Stopped(
                f"{self._name}: stopped after step {done} of {self.total}, which is saved. The same command resumes."
            )
        if evaluates:
            self._checkpoints.wait()
            with stop_signals.requests_wait(False):  # everything is saved
                self._score()
        if done == self.total or (evaluates if self._evaluate else saves):
            self._show_pictures()
        if saves or evaluates:
            self._speed.restart()

    def _show_pictures(self) -> None:
        """Writes pictures if it is time. All hosts draw them: in a step no host can wait long for another."""
        late = time.monotonic() - self._pictured_at >= 60 * PICTURE_MINUTES
        if not self._draws or not (self.done == self.total or first_says(late)):
            return
        self._pictured_at = time.monotonic()
        if self._pictures is None:
            return
        self._checkpoints.wait()
        with stop_signals.requests_wait(False):
            try:
                pictures = self._pictures(self.state)
            except Exception as error:  # they need extra memory and data; the training matters more
                log.warning("no pictures for TensorBoard: %s", error)
                self._pictures = None
            else:
                self._log.write_pictures(self.done, pictures)

    def _is_due(self, step: int) -> bool:
        return self._evaluate is not None and step > 0 and step % self._runtime.evaluate_every == 0

    def _save(self) -> None:
        if self.done:
            self._checkpoints.save(self.done, self.state, devices=jax.device_count())
        self._saved_at = time.monotonic()

    def _score(self) -> None:
        """Evaluates, and exports the weights if they are the best so far."""
        results = self._evaluate(self.state)
        if "score" not in results:
            log.warning("%s: the evaluation after step %d found nothing to score", self._name, self.done)
            return
        best = max(filter(math.isfinite, self._log.scores.values()), default=-math.inf)
        if results["score"] > best:
            with Checkpoints(self._log.folder / "best", keep=1, owner=True) as exported:
                weights = {"params": self.state.params, "batch_stats": self.state.batch_stats}
                exported.save(self.done, weights, score=float(results["score"]))
        # Last, because a resumed training evaluates again unless the score is logged.
        self._log.write(self.done, {f"{SCORE.partition('/')[0]}/{key}": value for key, value in results.items()})

    def _flush(self) -> None:
        """Logs and checks the steps since the last call."""
        if not self._pending:
            return
        values = jax.device_get(self._pending)
        self._count_skipped(values, self.done - len(values))
        applied = [one for one in values if not one.get("skipped")]
        means = {key: sum(float(one[key]) for one in applied) / len(applied) for key in values[0] if applied}
        means["skipped"] = len(values) - len(applied)
        means |= self._speed.metrics()
        self._log.write(self.done, means)
        if self._watch is not None:
            self._watch(self.done, means)
        self._progress.show(self.done, _summary(means))
        self._pending = []
        self._speed.restart()

    def _count_skipped(self, values: Sequence[dict], first_step: int) -> None:
        limit = self._runtime.max_skipped_steps
        for step, metrics in enumerate(values, first_step + 1):
            self._skipped = self._skipped + 1 if metrics.get("skipped") else 0
            if not self._skipped:
                continue
            term = _first_non_finite(metrics)
            if self._skipped == 1:
                log.warning("step %d: %s; the step is skipped", step, term)
            if self._skipped >= limit:
                latest = self._checkpoints.latest_step()
                kept = f"checkpoint {latest} is kept" if latest is not None else "no checkpoint was saved yet"
                raise NonFiniteLossError(
                    f"{term} at step {step}, after {self._skipped - 1} skipped steps in a row "
                    f"(config.runtime.max_skipped_steps = {limit}); training stops, {kept} in "
                    f"{self._checkpoints.folder}. A lower learning rate usually helps; the metrics show when it "
                    "began. If it is always the same step, check its data."
                )


def _first_non_finite(metrics: dict) -> str:
    # The total and the gradient come last: they are non-finite because of one of the terms.
    ordered = sorted(metrics, key=lambda name: (name in ("loss/total", "gradient_norm"), not name.startswith("loss")))
    for name in ordered:
        if not math.isfinite(metrics[name]):
            return f"'{name}' is {float(metrics[name])}"
    return "a value is not finite"


def _images(batch: Any) -> int:
    """Number of images in a step's streams on all hosts, without neighbouring frames; 0 for batches without images."""
    streams = batch.values() if isinstance(batch, Mapping) else ()
    return jax.process_count() * sum(len(one["image"]) for one in streams if isinstance(one, Mapping))


def _summary(means: dict[str, float]) -> str:
    formats = {
        "seconds_per_step": "{:.3f} s/step",
        "images_per_second": "{:.1f} images/s",
        "input_wait_share": "{:.0%} waiting for data",
    }
    speed = [text.format(means[name]) for name, text in formats.items() if name in means]
    losses = [f"{name.removeprefix('loss/')} {value:.3f}" for name, value in means.items() if name.startswith("loss/")]
    return "  ".join(filter(None, (", ".join(speed), ", ".join(losses))))
