"""Batches that pass together: same numbers as one pass each, statistics updated in the given order."""

import jax
import numpy as np
import pytest

from sdeseg_jax.training.forward_passes import Forward
from tests.training.conftest import SIZE
from tests.training.steps import relative_difference

NAMES = ("labeled", "pool")


@pytest.fixture(scope="module")
def network(multitask_network):
    return multitask_network.clone(axis_name=None, dropout=0.0)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return {name: rng.uniform(size=(3, *SIZE, 3)).astype(np.float32) for name in NAMES}


@pytest.fixture(scope="module")
def forward(network, multitask_variables):
    """forward(order) -> Forward of the multi-task network, without dropout."""

    def make(order=()):
        return Forward(
            network, multitask_variables["params"], multitask_variables["batch_stats"], jax.random.key(0), order
        )

    return make


def one_by_one(network, variables, images, names):
    """Returns predictions from one pass each, in turn, and the resulting statistics of Flax itself."""
    variables, predictions = dict(variables), {}
    for name in names:
        predictions[name], updates = network.apply(
            variables, images[name], train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
        )
        variables["batch_stats"] = updates["batch_stats"]
    return predictions, variables["batch_stats"]


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1]])
def test_together_is_a_pass_each_in_the_order_asked_for(network, multitask_variables, forward, images, order):
    @jax.jit
    def together(images):
        passes = forward(order)
        return passes.together(images, depth=NAMES, segmentation=NAMES), passes.batch_stats

    expected, stats = jax.jit(lambda images: one_by_one(network, multitask_variables, images, order))(images)
    predictions, together_stats = together(images)
    for name in NAMES:
        np.testing.assert_allclose(predictions[name].logits, expected[name].logits, atol=5e-5)
        np.testing.assert_allclose(predictions[name].intermediate_logits, expected[name].intermediate_logits, atol=5e-5)
        for ours, theirs in zip(predictions[name].disparities, expected[name].disparities, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    stats = {part: tree for part, tree in stats.items() if part != "pose"}
    together_stats = {part: tree for part, tree in together_stats.items() if part != "pose"}
    assert relative_difference(together_stats, stats) < 1e-4


def test_only_what_is_needed_is_computed(forward, images):
    def together(images):
        return forward().together(images, depth=("pool",), segmentation=("labeled",))

    predictions = jax.eval_shape(together, images)
    assert predictions["labeled"].disparities is None and predictions["labeled"].logits.shape[0] == 3
    assert predictions["pool"].logits is None and len(predictions["pool"].disparities) == 4


def test_statistics_of_parts_that_do_not_run_do_not_change(forward, multitask_variables, images):
    """If only the pose network runs, those of the others stay bit-identical, also after the others have run."""
    frames = {name: np.stack([batch, batch, batch[::-1]]) for name, batch in images.items()}

    @jax.jit
    def passes(images):
        first, both = forward(), forward()
        transforms = first.transforms(frames)
        both.together(images, depth=NAMES, segmentation=NAMES)
        before = both.batch_stats
        both.transforms(frames)
        return transforms, first.batch_stats, before, both.batch_stats

    transforms, pose_alone, before, after = passes(images)
    assert {name: value.shape for name, value in transforms.items()} == {name: (2, 3, 4, 4) for name in NAMES}
    for part, tree in multitask_variables["batch_stats"].items():
        if part == "pose":
            assert relative_difference(pose_alone[part], tree) > 1e-3
            assert relative_difference(after[part], pose_alone[part]) == 0
        else:
            assert relative_difference(pose_alone[part], tree) == 0
            assert relative_difference(after[part], before[part]) == 0
            assert relative_difference(after[part], tree) > 1e-3
