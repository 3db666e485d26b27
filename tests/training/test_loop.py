"""The loop on a training of two numbers: phases, resume, logs, what happens at a NaN."""

import io
import itertools
import json
import shutil

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdeseg_jax.config import default_config
from sdeseg_jax.training import interruption, logging, loop
from sdeseg_jax.training.checkpoints import CheckpointError, Checkpoints
from sdeseg_jax.training.initialization import load_variables
from sdeseg_jax.training.logging import MetricsLog, ProgressLine
from sdeseg_jax.training.loop import NonFiniteLossError, Phase, run
from sdeseg_jax.training.state import create_state


def initial_state():
    return create_state({"params": {"w": jnp.zeros(2)}, "batch_stats": {}}, optax.sgd(1.0))


def add_batch(state, batch):
    """A step that adds the batch to the parameters and calls it the loss; skipped where it is not finite."""
    value, skipped = jnp.float32(batch), not np.isfinite(batch)
    state = state.replace(step=state.step + 1, params={"w": state.params["w"] + (0 if skipped else value)})
    metrics = {"gradient_norm": value, "loss/second": value + 1, "loss/total": value, "loss/zero": jnp.zeros(())}
    return state, metrics | {"skipped": jnp.float32(skipped)}


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


def train(
    folder, steps=8, step=add_batch, batches=numbers, phases=None, evaluate=None, watch=None, profile=(), **settings
):
    runtime = default_config().runtime
    runtime.update({"log_every": 1, "checkpoint_every": 2, "tensorboard": False, "max_skipped_steps": 1} | settings)
    return run(
        "test", initial_state(), phases or [Phase(steps, step)], batches, folder, runtime, evaluate, watch, profile
    )


def saved_steps(folder, name="checkpoints"):
    with Checkpoints(folder / name) as checkpoints:
        return checkpoints.steps()


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
    assert "'loss/second' is nan at step 5, after 0 steps that were skipped" in str(caught.value)
    assert "config.runtime.max_skipped_steps = 1); training stops, checkpoint 4 is kept in " in str(caught.value)
    assert str(tmp_path / "checkpoints") in str(caught.value)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() == 4
        state = checkpoints.restore(initial_state())
    np.testing.assert_array_equal(state.params["w"], [10, 10])
    assert int(train(tmp_path).step) == 8  # with whatever was wrong put right, it goes on


def test_nan_before_any_checkpoint(tmp_path):
    with pytest.raises(NonFiniteLossError, match="at step 1, .* training stops, no checkpoint was saved yet"):
        train(tmp_path, batches=lambda first: itertools.repeat(float("inf")))
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() is None


def test_infinite_gradient_of_a_finite_loss_stops(tmp_path):
    def step(state, batch):
        state, metrics = add_batch(state, batch)
        broken = batch == 4
        norm = jnp.float32("inf" if broken else 1)
        return state, metrics | {"gradient_norm": norm, "skipped": jnp.float32(broken)}

    with pytest.raises(NonFiniteLossError, match="'gradient_norm' is inf at step 4, .* checkpoint 2 is kept"):
        train(tmp_path, step=step)


def test_single_steps_that_are_not_finite_are_skipped_and_left_out_of_the_means(tmp_path, caplog):
    nan = float("nan")
    batches = lambda first: (nan if k in (2, 5, 6) else k for k in numbers(first))  # noqa: E731
    state = train(tmp_path, batches=batches, log_every=4, checkpoint_every=4, max_skipped_steps=3)
    assert int(state.step) == 8 and state.params["w"][0] == 1 + 3 + 4 + 7 + 8
    logged = [(line["loss/total"], line["skipped"]) for line in lines(tmp_path)]
    assert logged == [(pytest.approx(8 / 3), 1), (7.5, 2)]
    messages = [record.message for record in caplog.records]
    assert messages == [
        "step 2: 'loss/second' is nan; the step is skipped", "step 5: 'loss/second' is nan; the step is skipped"
    ]  # fmt: skip


def test_skipped_steps_in_a_row_are_counted_across_logs(tmp_path):
    batches = lambda first: (float("nan") if k in (4, 5, 6) else k for k in numbers(first))  # noqa: E731
    with pytest.raises(NonFiniteLossError, match="at step 6, after 2 steps that were skipped"):
        train(tmp_path, batches=batches, log_every=1, checkpoint_every=5, max_skipped_steps=3)
    assert saved_steps(tmp_path) == [5]


def test_log_of_skipped_steps_alone_is_json(tmp_path):
    batches = lambda first: (float("nan") if k == 2 else k for k in numbers(first))  # noqa: E731
    train(tmp_path, steps=3, batches=batches, max_skipped_steps=2)
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    assert [line["skipped"] for line in lines(tmp_path)] == [0, 1, 0] and "loss/total" not in lines(tmp_path)[1]


def score_of(state):
    """Best at step 3."""
    step = int(state.step)
    return {"score": -abs(step - 3), "miou": 2 * step}


def best_of(folder):
    """(step, weight) of what is exported as the best."""
    (step,) = saved_steps(folder, "best")
    return step, float(load_variables(folder / "best")["params"]["w"][0])


def test_evaluation_is_logged_and_the_best_weights_exported(tmp_path):
    watched = []
    train(
        tmp_path, steps=9, log_every=3, checkpoint_every=2, evaluate_every=3, watch=lambda *one: watched.append(one),
        evaluate=score_of,
    )  # fmt: skip
    evaluations = [(line["step"], line["evaluation/miou"]) for line in lines(tmp_path) if "evaluation/miou" in line]
    assert evaluations == [(3, 6), (6, 12), (9, 18)]
    assert [step for step, _ in watched] == [2, 3, 4, 6, 8, 9] and all("loss/total" in one for _, one in watched)
    assert saved_steps(tmp_path) == [8, 9]
    assert best_of(tmp_path) == (3, 1 + 2 + 3)
    assert set(load_variables(tmp_path / "best")) == {"params", "batch_stats"}


@pytest.mark.parametrize("stop", ["before", "in", "after"])
def test_best_weights_of_an_interrupted_training_are_those_of_the_whole_one(tmp_path, stop):
    """It ends before, in or after the evaluation of step 6, whose checkpoint is there in the latter two cases."""
    evaluated = []

    def evaluate(state):
        evaluated.append(int(state.step))
        if stop == "in" and evaluated == [3, 6]:
            raise KeyboardInterrupt
        return score_of(state)

    settings = {"steps": 9, "checkpoint_every": 2, "evaluate_every": 3}
    with pytest.raises(KeyboardInterrupt):
        batches = broken(at={"before": 5, "in": 99, "after": 6}[stop])
        train(tmp_path, batches=batches, evaluate=evaluate, **settings)
    assert best_of(tmp_path) == (3, 6)
    train(tmp_path, evaluate=evaluate, **settings)
    assert evaluated == {"before": [3, 6, 9], "in": [3, 6, 6, 9], "after": [3, 6, 9]}[stop]
    assert best_of(tmp_path) == (3, 6)
    evaluations = [(line["step"], line["evaluation/score"]) for line in lines(tmp_path) if "evaluation/score" in line]
    assert evaluations == [(3, 0), (6, -3), (9, -6)]


def test_checkpoints_by_time(tmp_path, monkeypatch):
    clock, saved = [0.0], []
    monkeypatch.setattr("sdeseg_jax.training.loop.time.monotonic", lambda: clock[0])

    def step(state, batch):
        clock[0] += 60
        return add_batch(state, batch)

    monkeypatch.setattr(loop.Checkpoints, "save", lambda self, step, state, **facts: saved.append(step))
    train(tmp_path, steps=11, step=step, log_every=2, checkpoint_every=9, checkpoint_minutes=2.5)
    # Looked at every second step, of a minute each: 4 and 8 are due by time, 9 by steps, 11 is the last.
    assert saved == [4, 8, 9, 11]


def test_request_to_stop_saves_after_the_step_and_the_training_goes_on_from_there(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole")
    asked = itertools.count(1)
    monkeypatch.setattr(interruption, "requested", lambda: next(asked) == 5)
    with pytest.raises(interruption.Stopped, match="test: stopped after step 5 of 8, which is saved"):
        train(tmp_path / "stopped", log_every=100, checkpoint_every=100)
    assert saved_steps(tmp_path / "stopped") == [5] and lines(tmp_path / "stopped")[-1]["step"] == 5
    monkeypatch.undo()
    state = train(tmp_path / "stopped")
    np.testing.assert_array_equal(state.params["w"], whole.params["w"])


def test_data_that_cannot_be_read_costs_no_step(tmp_path):
    with pytest.raises(OSError, match="gone"):
        train(tmp_path, batches=broken(at=5, error=OSError("gone")), checkpoint_every=100)
    assert saved_steps(tmp_path) == [5]
    assert train(tmp_path).params["w"][0] == sum(range(9))


def test_best_weights_of_a_training_that_is_done_again(tmp_path):
    """Its checkpoints were removed; what was the best beyond is forgotten, not kept for ever."""
    later = lambda state: {"score": int(state.step)}  # noqa: E731
    train(tmp_path, steps=6, evaluate=later, evaluate_every=3)
    assert best_of(tmp_path)[0] == 6
    shutil.rmtree(tmp_path / "checkpoints")
    train(tmp_path, steps=4, evaluate=later, evaluate_every=3)
    assert best_of(tmp_path)[0] == 3


def test_a_score_that_is_none_does_not_stand_for_the_best(tmp_path):
    scores = {3: float("nan"), 6: 0.5}
    train(tmp_path, steps=6, evaluate=lambda state: {"score": scores[int(state.step)]}, evaluate_every=3)
    assert best_of(tmp_path)[0] == 6


def test_few_steps_wait_for_the_devices(tmp_path, monkeypatch):
    """A request to stop is met after the steps that are under way: there must be few of them."""
    waited = []
    monkeypatch.setattr(loop.jax, "block_until_ready", lambda metrics: waited.append(float(metrics["loss/total"])))
    train(tmp_path, log_every=100, checkpoint_every=100)
    assert waited == [1, 2, 3, 4, 5, 6]  # of 8 steps, all but the newest two


@pytest.mark.parametrize("same_devices", [False, True])
def test_another_number_of_devices(tmp_path, monkeypatch, same_devices):
    train(tmp_path, steps=4)
    monkeypatch.setattr(loop.jax, "device_count", lambda: 3)
    runtime = default_config().runtime
    runtime.update(tensorboard=False)
    arguments = ("test", initial_state(), [Phase(6, add_batch)], numbers, tmp_path, runtime)
    if not same_devices:
        assert int(run(*arguments).step) == 6
        return
    with pytest.raises(CheckpointError, match="trained on 4 devices, here are 3.*sync_batch_norm=False.*changed=keep"):
        run(*arguments, same_devices=True)


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
