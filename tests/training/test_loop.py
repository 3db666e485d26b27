"""The loop on a training of two numbers: phases, resume, logs, what happens at a NaN."""

import io
import itertools
import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdeseg_jax.training import logging
from sdeseg_jax.training.checkpoints import Checkpoints
from sdeseg_jax.training.logging import MetricsLog, ProgressLine
from sdeseg_jax.training.loop import NonFiniteLossError, Phase, run
from sdeseg_jax.training.state import create_state


def initial_state():
    return create_state({"params": {"w": jnp.zeros(2)}, "batch_stats": {}}, optax.sgd(1.0))


def add_batch(state, batch):
    """A step that adds the batch to the parameters and calls it the loss."""
    value = jnp.float32(batch)
    state = state.replace(step=state.step + 1, params={"w": state.params["w"] + value})
    return state, {"gradient_norm": value, "loss/second": value + 1, "loss/total": value, "loss/zero": jnp.zeros(())}


def numbers(first):
    """Batch of step k: k + 1."""
    return itertools.count(first + 1)


def broken(at, error=KeyboardInterrupt):
    """`numbers` that is interrupted where step `at` (from 0) asks for its batch."""

    def make(first):
        for step in itertools.count(first):
            if step == at:
                raise error
            yield step + 1

    return make


def train(folder, steps=8, step=add_batch, batches=numbers, log_every=1, checkpoint_every=2, phases=None, **options):
    with Checkpoints(folder / "checkpoints", keep=2) as checkpoints:
        state = initial_state()
        if checkpoints.latest_step() is not None:
            state = checkpoints.restore(state)
        log = MetricsLog(folder, tensorboard=False, first_step=int(state.step))
        phases = phases or [Phase(steps, step)]
        return run("test", state, phases, batches, checkpoints, log, log_every, checkpoint_every, **options)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_phases_run_in_order_and_means_are_logged(tmp_path):
    seen = []

    def phase(name):
        return lambda state, batch: (seen.append(name), add_batch(state, batch))[1]

    state = train(tmp_path, phases=[Phase(3, phase("frozen")), Phase(5, phase("all"))], log_every=2, checkpoint_every=9)
    assert seen == ["frozen"] * 3 + ["all"] * 2
    assert int(state.step) == 5 and state.params["w"][0] == 1 + 2 + 3 + 4 + 5
    logged = lines(tmp_path)
    assert [(line["step"], line["loss/total"]) for line in logged] == [(2, 1.5), (4, 3.5), (5, 5.0)]
    assert all(line["seconds_per_step"] >= 0 and 0 <= line["input_wait_share"] <= 1 for line in logged)


def test_interrupted_training_resumes_at_its_checkpoint_without_logging_twice(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, batches=broken(at=5))
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]  # one beyond the checkpoint
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "loss/to')  # killed while it wrote
    started = []
    state = train(tmp_path, batches=lambda first: (started.append(first), numbers(first))[1])
    assert started == [4]
    assert int(state.step) == 8 and state.params["w"][0] == sum(range(9))
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [line["loss/total"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_finished_training_does_nothing(tmp_path):
    train(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    state = train(tmp_path, batches=lambda first: pytest.fail("asked for batches"))
    assert int(state.step) == 8 and (tmp_path / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize("log_every", [1, 100])
def test_nan_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path, log_every):
    batches = lambda first: (float("nan") if k == 5 else k for k in numbers(first))  # noqa: E731
    with pytest.raises(NonFiniteLossError) as caught:
        train(tmp_path, batches=batches, log_every=log_every)
    # The zero term is fine; total and gradient are NaN because of the second.
    assert "'loss/second' is nan at step 5; training stops, checkpoint 4 is kept in " in str(caught.value)
    assert str(tmp_path / "checkpoints") in str(caught.value)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() == 4
        state = checkpoints.restore(initial_state())
    np.testing.assert_array_equal(state.params["w"], [10, 10])
    assert int(train(tmp_path).step) == 8  # with whatever was wrong put right, it goes on


def test_nan_before_any_checkpoint(tmp_path):
    with pytest.raises(NonFiniteLossError, match="at step 1; training stops, no checkpoint was saved yet"):
        train(tmp_path, batches=lambda first: itertools.repeat(float("inf")))
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() is None


def test_infinite_gradient_of_a_finite_loss_stops(tmp_path):
    def step(state, batch):
        state, metrics = add_batch(state, batch)
        return state, metrics | {"gradient_norm": jnp.float32("inf") if batch == 4 else jnp.float32(1)}

    with pytest.raises(NonFiniteLossError, match="'gradient_norm' is inf at step 4; .* checkpoint 2 is kept"):
        train(tmp_path, step=step)


def test_evaluation_is_logged_and_its_best_checkpoint_kept(tmp_path):
    watched = []
    train(
        tmp_path, steps=9, log_every=3, checkpoint_every=2, evaluate_every=3, watch=lambda *one: watched.append(one),
        evaluate=lambda state: {"score": -int(state.step), "miou": 2 * int(state.step)},
    )  # fmt: skip
    evaluations = [(line["step"], line["evaluation/miou"]) for line in lines(tmp_path) if "evaluation/miou" in line]
    assert evaluations == [(3, 6), (6, 12), (9, 18)]
    assert [step for step, _ in watched] == [2, 3, 4, 6, 8, 9] and all("loss/total" in one for _, one in watched)
    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert kept == [3, 8, 9]  # the best, the latest two


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_line_tells_steps_time_and_what_is_left(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(logging.time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    progress = ProgressLine("depth", total=60, first=10, stream=stream)
    progress.show(10)
    clock[0] += 125
    progress.show(20, "loss 0.5")  # 10 of 50 steps took 125 s: 500 s are left
    clock[0] += 7200
    progress.show(60)
    assert [line.rstrip() for line in stream.getvalue().splitlines()] == [
        "depth: 10/60  0:00, 0:00 left",
        "depth: 20/60  2:05, 8:20 left  loss 0.5",
        "depth: 60/60  2:02:05, 0:00 left",
    ]


def test_progress_line_is_rewritten_on_a_terminal(monkeypatch):
    stream = Terminal()
    progress = ProgressLine("depth", total=2, stream=stream)
    progress.show(1)
    assert "\n" not in stream.getvalue()
    progress.show(2)
    assert stream.getvalue().count("\r\x1b[K") == 2 and stream.getvalue().endswith("\n")


def test_metrics_log_writes_tensorboard_files(tmp_path):
    log = MetricsLog(tmp_path, tensorboard=True)
    log.write(3, {"loss/total": np.float32(0.5)})
    log.close()
    assert lines(tmp_path) == [{"step": 3, "loss/total": 0.5}]
    (events,) = tmp_path.glob("events.out.tfevents.*")
    assert b"loss/total" in events.read_bytes()


def traces(folder):
    return list((folder / "profile").rglob("*.xplane.pb"))


def test_trace_of_some_steps(tmp_path, caplog):
    train(tmp_path, steps=4, profile=(1, 3))
    [trace] = traces(tmp_path)
    assert trace.stat().st_size > 0
    with caplog.at_level("WARNING"):
        train(tmp_path, steps=6, profile=(1, 3))  # these steps were run before
    assert "no trace; the steps that are run now are 4 to 6" in caplog.text and len(traces(tmp_path)) == 1


def test_no_trace_beyond_the_end(tmp_path, caplog):
    train(tmp_path, steps=4, profile=(3, 9))
    assert "config.profile = (3, 9): no trace" in caplog.text and not traces(tmp_path)
