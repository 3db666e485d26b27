"""The loop, on a training of two numbers: phases, resuming, logs, NaNs."""

import itertools
import json
import shutil

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sdeseg_jax.config import default_config
from sdeseg_jax.training import stop_signals, training_loop
from sdeseg_jax.training.checkpoints import CheckpointError, Checkpoints
from sdeseg_jax.training.initialization import load_variables
from sdeseg_jax.training.train_state import create_state
from sdeseg_jax.training.training_loop import NonFiniteLossError, Phase, run


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
    """Returns `numbers` that raises `error` when step `at` (from 0) asks for its batch."""

    def make(first):
        for step in itertools.count(first):
            if step == at:
                raise error
            yield step + 1

    return make


HOOKS = ("evaluate", "watch", "profile", "pictures")


def train(folder, steps=8, step=add_batch, batches=numbers, phases=None, **settings):
    """Runs a training; `settings` are arguments of `run` named in `HOOKS`, and of `config.runtime`."""
    hooks = {name: settings.pop(name) for name in HOOKS if name in settings}
    runtime = default_config().runtime
    runtime.update({"log_every": 1, "checkpoint_every": 2, "tensorboard": False, "max_skipped_steps": 1} | settings)
    return run("test", initial_state(), phases or [Phase(steps, step)], batches, folder, runtime, **hooks)


def saved_steps(folder, name="checkpoints"):
    with Checkpoints(folder / name) as checkpoints:
        return checkpoints.steps()


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def clock(monkeypatch):
    """clock[0] is the time in seconds."""
    now = [1000.0]
    monkeypatch.setattr("sdeseg_jax.training.training_loop.time.monotonic", lambda: now[0])
    return now


def test_phases_run_in_order_and_means_are_logged(tmp_path):
    seen = []

    def phase(name):
        return lambda state, batch: (seen.append(name), add_batch(state, batch))[1]

    state = train(tmp_path, phases=[Phase(3, phase("frozen")), Phase(5, phase("all"))], log_every=2, checkpoint_every=9)
    assert seen == ["frozen"] * 3 + ["all"] * 2
    assert int(state.step) == 5 and state.params["w"][0] == 1 + 2 + 3 + 4 + 5
    logged = lines(tmp_path)
    assert [(line["step"], line["loss/total"]) for line in logged] == [(2, 1.5), (4, 3.5), (5, 5.0)]


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
    assert "'loss/second' is nan at step 5, after 0 skipped steps in a row" in str(caught.value)
    assert "config.runtime.max_skipped_steps = 1); training stops, checkpoint 4 is kept in " in str(caught.value)
    assert str(tmp_path / "checkpoints") in str(caught.value)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() == 4
        state = checkpoints.restore(initial_state())
    np.testing.assert_array_equal(state.params["w"], [10, 10])
    assert int(train(tmp_path).step) == 8  # once the cause is fixed, it resumes


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
    assert messages == [f"step {step}: 'loss/second' is nan; the step is skipped" for step in (2, 5)]


def test_skipped_steps_in_a_row_are_counted_across_logs(tmp_path):
    batches = lambda first: (float("nan") if k in (4, 5, 6) else k for k in numbers(first))  # noqa: E731
    with pytest.raises(NonFiniteLossError, match="at step 6, after 2 skipped steps in a row"):
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
    """Returns (step, weight) of the exported best weights."""
    (step,) = saved_steps(folder, "best")
    return step, float(load_variables(folder / "best")["params"]["w"][0])


def test_evaluation_is_logged_and_the_best_weights_exported(tmp_path):
    watched = []
    settings = {"log_every": 3, "checkpoint_every": 2, "evaluate_every": 3}
    train(tmp_path, steps=9, evaluate=score_of, watch=lambda *one: watched.append(one), **settings)
    evaluations = [(line["step"], line["evaluation/miou"]) for line in lines(tmp_path) if "evaluation/miou" in line]
    assert evaluations == [(3, 6), (6, 12), (9, 18)]
    assert [step for step, _ in watched] == [2, 3, 4, 6, 8, 9] and all("loss/total" in one for _, one in watched)
    assert saved_steps(tmp_path) == [8, 9]
    assert best_of(tmp_path) == (3, 1 + 2 + 3)
    assert set(load_variables(tmp_path / "best")) == {"params", "batch_stats"}


def test_an_evaluation_of_nothing_is_a_warning_and_no_score(tmp_path, caplog):
    train(tmp_path, steps=4, evaluate=lambda state: {}, evaluate_every=2)
    assert "the evaluation after step 2 found nothing to score" in caplog.text
    assert "evaluation" not in (tmp_path / "metrics.jsonl").read_text() and not (tmp_path / "best").exists()


@pytest.mark.parametrize("stop", ["before", "in", "after"])
def test_best_weights_of_an_interrupted_training_are_those_of_the_whole_one(tmp_path, stop):
    """It is interrupted before, in or after the evaluation of step 6; in the last two cases, step 6 is saved."""
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


def test_checkpoints_by_time(tmp_path, monkeypatch, clock):
    saved = []

    def step(state, batch):
        clock[0] += 60
        return add_batch(state, batch)

    monkeypatch.setattr(training_loop.Checkpoints, "save", lambda self, step, state, **facts: saved.append(step))
    train(tmp_path, steps=11, step=step, log_every=2, checkpoint_every=9, checkpoint_minutes=2.5)
    # Checked every second step, a minute each: 4 and 8 are due by time, 9 by steps, 11 is the last.
    assert saved == [4, 8, 9, 11]


def test_request_to_stop_saves_after_the_step_and_the_training_resumes_there(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole")
    asked = itertools.count(1)
    monkeypatch.setattr(stop_signals, "requested", lambda: next(asked) == 5)
    with pytest.raises(stop_signals.Stopped, match="test: stopped after step 5 of 8, which is saved"):
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


def test_best_weights_of_a_training_that_starts_over(tmp_path):
    """Its checkpoints were removed; best weights of later steps are deleted."""
    later = lambda state: {"score": int(state.step)}  # noqa: E731
    train(tmp_path, steps=6, evaluate=later, evaluate_every=3)
    assert best_of(tmp_path)[0] == 6
    shutil.rmtree(tmp_path / "checkpoints")
    train(tmp_path, steps=4, evaluate=later, evaluate_every=3)
    assert best_of(tmp_path)[0] == 3


def test_a_score_that_is_nan_is_not_the_best(tmp_path):
    scores = {3: float("nan"), 6: 0.5}
    train(tmp_path, steps=6, evaluate=lambda state: {"score": scores[int(state.step)]}, evaluate_every=3)
    assert best_of(tmp_path)[0] == 6


def test_few_steps_wait_for_the_devices(tmp_path, monkeypatch):
    """A request to stop waits for the steps that were started: there must be few of them."""
    waited = []
    monkeypatch.setattr(
        training_loop.jax, "block_until_ready", lambda metrics: waited.append(float(metrics["loss/total"]))
    )
    train(tmp_path, log_every=100, checkpoint_every=100)
    assert waited == [1, 1, 2, 3, 4, 5, 6]  # the first, which compiles; then of 8 steps all but the newest two


@pytest.mark.parametrize("same_devices", [False, True])
def test_another_number_of_devices(tmp_path, monkeypatch, same_devices):
    train(tmp_path, steps=4)
    monkeypatch.setattr(training_loop.jax, "device_count", lambda: 3)
    runtime = default_config().runtime
    runtime.update(tensorboard=False)
    arguments = ("test", initial_state(), [Phase(6, add_batch)], numbers, tmp_path, runtime)
    if not same_devices:
        assert int(run(*arguments).step) == 6
        return
    with pytest.raises(
        CheckpointError, match="trained on 4 devices, now there are 3.*sync_batch_norm=False.*changed=keep"
    ):
        run(*arguments, same_devices=True)


def test_speed_is_that_of_steps_alone(tmp_path, clock):
    """Time for compilation (at the first step of each phase), saves and evaluations does not count."""

    def phase(compilation):
        seconds = iter([compilation])

        def step(state, batch):
            clock[0] += next(seconds, 1.5)
            return add_batch(state, batch["labeled"]["image"][0])

        return step

    def batches(first):
        for number in numbers(first):
            clock[0] += 0.5
            image = np.full(4, number, np.float32)
            yield {"labeled": {"image": image, "prev_image": image}, "pool": {"image": image}}

    def evaluate(state):
        clock[0] += 300
        return {"score": 0}

    phases = [Phase(6, phase(100)), Phase(12, phase(70))]
    train(
        tmp_path, phases=phases, batches=batches, evaluate=evaluate, log_every=3, checkpoint_every=99, evaluate_every=3
    )
    speeds = ("seconds_per_step", "images_per_second", "input_wait_share")
    logged = [[line[name] for name in speeds] for line in lines(tmp_path) if "seconds_per_step" in line]
    assert logged == [[2.0, 4.0, 0.25]] * 4


def test_no_speed_of_a_step_that_compiles(tmp_path):
    train(tmp_path, steps=2)
    assert ["seconds_per_step" in line for line in lines(tmp_path)] == [False, True]
    assert "images_per_second" not in lines(tmp_path)[1]  # batches are numbers here


def paint(state):
    """Pictures, dark at the beginning."""
    return {"frame": np.full((2, 3, 3), int(state.step), np.uint8)}


def painted_steps(folder):
    events = EventAccumulator(str(folder)).Reload()
    return [event.step for event in events.Tensors("frame")] if "frame" in events.Tags()["tensors"] else []


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, [11]),  # a step takes four minutes: 4 is due after 16 minutes, 8 after 32
        ({"checkpoint_every": 2}, [4, 8, 11]),
        ({"checkpoint_every": 2, "evaluate_every": 5}, [5, 10, 11]),
        ({"checkpoint_every": 2, "tensorboard": False}, []),
    ],
)
def test_pictures_at_evaluations_or_checkpoints_but_seldom(tmp_path, clock, settings, expected):
    def step(state, batch):
        clock[0] += 240
        return add_batch(state, batch)

    defaults = {"checkpoint_every": 99, "checkpoint_minutes": 0, "tensorboard": True}
    train(tmp_path, 11, step, evaluate=score_of, pictures=paint, **(defaults | settings))
    assert painted_steps(tmp_path) == expected


def test_pictures_that_fail_are_warned_of_once_and_change_nothing(tmp_path, monkeypatch, caplog):
    def fail(state):
        raise RuntimeError("no memory")

    monkeypatch.setattr(training_loop, "PICTURE_MINUTES", 0)
    state = train(tmp_path, pictures=fail, tensorboard=True)
    assert [record.message for record in caplog.records] == ["no pictures for TensorBoard: no memory"]
    assert state.params["w"][0] == sum(range(9)) and saved_steps(tmp_path) == [6, 8]
