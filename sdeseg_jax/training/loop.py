"""The one loop of every training: step, log, check, save; resumes where the last checkpoint stands."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from sdeseg_jax.training.checkpoints import Checkpoints
from sdeseg_jax.training.logging import MetricsLog, ProgressLine
from sdeseg_jax.training.profiling import Trace
from sdeseg_jax.training.state import TrainState


class NonFiniteLossError(FloatingPointError):
    """A loss or gradient is NaN or infinite; the message names the first such term and the last good checkpoint."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """Steps up to `until` (exclusive) use `step`; the encoder is frozen in one phase and trained in the next, say."""

    until: int
    step: Callable


def run(
    name: str,
    state: TrainState,
    phases: Sequence[Phase],
    make_batches: Callable[[int], Iterator[Any]],
    checkpoints: Checkpoints,
    log: MetricsLog,
    log_every: int,
    checkpoint_every: int,
    evaluate_every: int = 0,
    evaluate: Callable[[TrainState], dict[str, float]] | None = None,
    watch: Callable[[int, dict[str, float]], None] | None = None,
    profile: Sequence[int] = (),
) -> TrainState:
    """Trains from `state.step` to the end of the last phase.

    Args:
      name: for the progress line.
      state: where to start; donated.
      phases: in order; each phase's `step(state, batch) -> (state, metrics)` runs on all devices.
      make_batches: first step -> iterator of host batches from that step on.
      checkpoints: saved every `checkpoint_every` steps, and at the end, but never with a non-finite loss behind it.
      log: gets metrics averaged over `log_every` steps.
      evaluate: state -> metrics with "score" (higher is better), every `evaluate_every` steps if that is not 0.
      watch: called with what was logged; may warn.
      profile: (start, stop): a trace of the steps start <= step < stop is written to `profile/` in the log's folder.

    Raises:
      NonFiniteLossError: at the next logged or saved step after a term became NaN or infinite.
    """
    first, total = int(state.step), phases[-1].until
    progress = ProgressLine(name, total, first)
    batches = make_batches(first) if first < total else iter(())
    trace = Trace(log.folder / "profile", profile, first, total)
    pending: list[dict] = []
    pending_since, waited = time.monotonic(), 0.0

    def flush(step: int) -> None:
        nonlocal pending, pending_since, waited
        if not pending:
            return
        values = jax.device_get(pending)
        _require_finite(values, step - len(values), checkpoints)
        means = {key: sum(float(v[key]) for v in values) / len(values) for key in values[0]}
        elapsed = time.monotonic() - pending_since
        means |= {"seconds_per_step": elapsed / len(values), "input_wait_share": waited / max(elapsed, 1e-9)}
        log.write(step, means)
        if watch is not None:
            watch(step, means)
        progress.show(step, _summary(means))
        pending, pending_since, waited = [], time.monotonic(), 0.0

    for step in range(first, total):
        phase = next(phase for phase in phases if step < phase.until)
        before = time.monotonic()
        batch = next(batches)
        waited += time.monotonic() - before
        trace.before(step, state)
        state, metrics = phase.step(state, batch)
        pending.append(metrics)

        done = step + 1
        trace.after(done, state)
        saving = done % checkpoint_every == 0 or done == total
        evaluating = evaluate is not None and evaluate_every and done % evaluate_every == 0
        if done % log_every == 0 or saving or evaluating:
            flush(done)
        score = None
        if evaluating:
            results = evaluate(state)
            log.write(done, {f"evaluation/{key}": value for key, value in results.items()})
            score = results.get("score")
        if saving or evaluating:
            checkpoints.save(done, state, score)
    checkpoints.wait()
    return state


def _require_finite(values: Sequence[dict], first_step: int, checkpoints: Checkpoints) -> None:
    for offset, metrics in enumerate(values):
        # The total and the gradient come last: they are non-finite because of one of the terms.
        ordered = sorted(
            metrics, key=lambda name: (name in ("loss/total", "gradient_norm"), not name.startswith("loss"))
        )
        for name in ordered:
            if not math.isfinite(metrics[name]):
                latest = checkpoints.latest_step()
                kept = f"checkpoint {latest} is kept" if latest is not None else "no checkpoint was saved yet"
                raise NonFiniteLossError(
                    f"'{name}' is {float(metrics[name])} at step {first_step + offset + 1}; training stops, {kept} in "
                    f"{checkpoints.folder}. A lower learning rate usually helps; see the metrics for when it began."
                )


def _summary(means: dict[str, float]) -> str:
    losses = [f"{name.removeprefix('loss/')} {value:.3f}" for name, value in means.items() if name.startswith("loss/")]
    return f"{means['seconds_per_step']:.3f} s/step  {', '.join(losses)}"
