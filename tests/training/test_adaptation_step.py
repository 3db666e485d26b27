"""The step of domain adaptation: its terms, their gradients, equality over devices."""

import jax
import numpy as np
import pytest

from sdeseg_jax.models.network import build_network
from sdeseg_jax.training.initialization import random_variables
from sdeseg_jax.training.replication import AXIS
from sdeseg_jax.training.segmentation_objective import make_segmentation_objective
from tests.training.steps import make_training, relative_difference, replicate_over

ALL = dict(
    multitask=False,
    mix="depth",
    mix_disparity="precomputed",
    cross_mix="depth",
    source_weight=0.5,
    cross_mix_weight=2.0,
    optimizer="sgd",
    learning_rate=1e-2,
)
OFF = {
    "source": dict(source_weight=0.0),
    "cross_domain": dict(cross_mix="none"),
    "pseudo_label": dict(mix="none", pseudo_labels=False),
}
"""Term -> options that switch it off."""


@pytest.fixture(scope="module")
def network(config):
    # Without dropout, because its masks depend on the number of terms.
    return build_network(config.model, depth=False, dropout=0.0, axis_name=AXIS)


@pytest.fixture(scope="module")
def variables(network):
    return random_variables(network, 0, (32, 64))


@pytest.fixture(scope="module")
def batches(ssl_batches):
    """step -> labelled, pool and source batches of 4."""

    def make(step):
        batches, rng = ssl_batches(step), np.random.default_rng(100 + step)
        source = ssl_batches(step + 50)["labeled"]
        source["label"][1, :8] = 255
        disparity = rng.uniform(size=(4, 32, 64, 1)).astype(np.float32)
        return {**batches, "source": {"image": source["image"], "label": source["label"], "disparity": disparity}}

    return make


def gradients_of(config, network, variables, batches, per_term, **options):
    """Returns the gradients of the total and, with `per_term`, of each term: (total, {name: tree})."""
    config = config.copy_and_resolve_references()
    config.segmentation.update(confidence_threshold=0.06, **{**ALL, **options})
    _, state = make_training(config, network, variables)
    objective = make_segmentation_objective(network, config)

    def on_device(batches):
        def total(params):
            return objective(params, state, batches, jax.random.key(0))[0]

        def terms(params):
            return objective(params, state, batches, jax.random.key(0))[1].terms

        return jax.grad(total)(state.params), jax.jacrev(terms)(state.params) if per_term else {}

    mapped = jax.pmap(on_device, axis_name=AXIS, devices=jax.devices()[:1])
    return jax.tree.map(lambda x: np.asarray(x[0]), mapped(jax.tree.map(lambda x: np.asarray(x)[None], batches)))


def test_removing_a_term_removes_exactly_its_gradient(config, network, variables, batches):
    total, terms = gradients_of(config, network, variables, batches(0), True)
    assert set(terms) == {"supervised", *OFF}
    weights = {"source": 0.5, "cross_domain": 2.0}
    for name, options in OFF.items():
        without, _ = gradients_of(config, network, variables, batches(0), False, **options)
        size = max(np.abs(x).max() for x in jax.tree.leaves(terms[name]))
        assert size > 1e-4
        leaves = zip(*(jax.tree.leaves(tree) for tree in (total, without, terms[name])), strict=True)
        for whole, rest, own in leaves:
            tolerance = 2e-5 * max(np.abs(whole).max(), 1)
            np.testing.assert_allclose(whole - rest, weights.get(name, 1.0) * own, atol=tolerance, err_msg=name)


def test_one_and_four_devices_agree(config, network, variables, batches):
    step, state = make_training(config, network, variables, **ALL)
    state_one, metrics_one = replicate_over(step, 1)(state, batches(0))
    state_four, metrics_four = replicate_over(step, 4)(state, batches(0))
    names = {"loss/source", "loss/supervised", "loss/cross_domain", "loss/pseudo_label", "cross_domain/source_share"}
    assert set(metrics_one) >= names
    assert 0.3 < metrics_one["cross_domain/source_share"] < 0.7
    for name, value in metrics_one.items():
        np.testing.assert_allclose(metrics_four[name], value, rtol=2e-5, atol=1e-6, err_msg=name)
    for tree in ("params", "batch_stats", "teacher_params"):
        assert relative_difference(getattr(state_four, tree), getattr(state_one, tree)) < 1e-5


def test_target_batch_without_labels_gives_no_loss_and_finite_gradients(config, network, variables, batches):
    batch = batches(0)
    batch["labeled"]["label"][:] = 255
    step, state = make_training(config, network, variables, **ALL)
    state, metrics = replicate_over(step, 1)(state, batch)
    assert metrics["loss/supervised"] == 0 and metrics["loss/source"] > 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(state.params)))
