"""Students of the data selection: their loss over devices, and one compiled update for any number of steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdeseg_jax.models.network import build_network
from sdeseg_jax.training.depth_student_objective import make_student_objective
from sdeseg_jax.training.initialization import random_variables
from sdeseg_jax.training.optimizers_and_schedules import student_optimizer
from sdeseg_jax.training.replication import AXIS
from sdeseg_jax.training.train_state import create_state
from sdeseg_jax.training.train_step import make_step
from tests.training.steps import replicate_over


def test_student_learns_the_same_on_one_and_four_devices(config):
    """The bound of berHu follows from the largest error on all devices: here on the last, in a row that counts."""
    settings = {**config.model, **config.selection.student, "dropout": 0.0}
    network = build_network(settings, segmentation=False, axis_name=AXIS)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.random((4, 32, 64, 3), np.float32),
        "disparity": rng.uniform(0.4, 0.6, (4, 32, 64, 1)).astype(np.float32),
    }
    batch["disparity"][3, 5] = 1.0
    step = make_step(make_student_objective(network), optax.sgd(0.1), 0)
    variables, results = random_variables(network, 0, (32, 64)), []
    for devices in (1, 4):
        state = create_state(variables, optax.sgd(0.1))
        results.append(jax.device_get(replicate_over(step, devices)(state, {"annotated": batch})))
    (one, one_metrics), (four, four_metrics) = results
    assert set(one_metrics) == {"loss/berhu", "loss/total", "gradient_norm", "skipped"}
    for name, value in one_metrics.items():
        np.testing.assert_allclose(four_metrics[name], value, rtol=1e-4, err_msg=name)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(four.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(np.abs(a).max(), 1))


def test_rows_at_the_bottom_are_not_learned_from(config):
    network = build_network({**config.model, **config.selection.student}, segmentation=False, axis_name=AXIS)
    variables = random_variables(network, 0, (32, 64))
    objective = make_student_objective(network)
    state = create_state(variables, optax.sgd(0.1))
    batch = {"image": np.zeros((1, 2, 32, 64, 3), np.float32), "disparity": np.full((1, 2, 32, 64, 1), 0.5, np.float32)}

    def loss(batch):
        def of_device(batch):
            return objective(state.params, state, {"annotated": batch}, jax.random.key(0))[0]

        return jax.pmap(of_device, axis_name=AXIS, devices=jax.local_devices()[:1])(batch).item()

    before = loss(batch)
    batch["disparity"][:, :, 28:] = 1.0
    assert loss(batch) == before
    batch["disparity"][:, :, 27] = 1.0
    assert loss(batch) != before


@pytest.mark.parametrize("steps", [5, 40])
def test_learning_rate_falls_polynomially_whatever_the_length(steps):
    """The update compiled for a student of one step serves students of any number of steps."""
    update = jax.jit(student_optimizer(0.1, 1).update)
    params = {"w": jnp.ones(3)}
    state, rates = student_optimizer(0.1, steps).init(params), []
    for _ in range(steps):
        updates, state = update({"w": jnp.ones(3)}, state, params)
        rates.append(-float(updates["w"][0]))  # Adam's direction is 1 for a constant gradient
    expected = 0.1 * (1 - np.arange(steps) / steps) ** 0.9
    np.testing.assert_allclose(rates, expected, rtol=1e-4)
