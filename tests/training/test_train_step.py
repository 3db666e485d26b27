"""The training step: equality over devices, terms, teacher, parts of the optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdeseg_jax.config import default_config
from sdeseg_jax.training import replication
from sdeseg_jax.training.checkpoints import Checkpoints
from sdeseg_jax.training.depth_objective import make_depth_objective
from sdeseg_jax.training.initialization import random_variables
from sdeseg_jax.training.optimizers_and_schedules import (
    adam,
    depth_optimizer,
    encoder_or_rest,
    learning_rate_schedule,
    pretrained_pose_or_scratch,
    segmentation_optimizer,
    sgd,
)
from sdeseg_jax.training.replication import check_batch_size, place, replicate
from sdeseg_jax.training.train_state import create_state
from sdeseg_jax.training.train_step import Outcome, make_step
from tests.training.steps import WEIGHTS, make_training, make_whole_training, relative_difference, replicate_over


@pytest.fixture(scope="module")
def whole(config, multitask_network, multitask_variables):
    """The whole step for one and for four devices, and a state; shared between tests because compiling takes long."""
    step, state = make_whole_training(config, multitask_network, multitask_variables)
    return replicate_over(step, 1), replicate_over(step, 4), state


def assert_same_step(one, other):
    """Compares (state, metrics) of steps on different devices, to rounding."""
    (state, metrics), (other_state, other_metrics) = one, other
    for name, value in metrics.items():
        np.testing.assert_allclose(other_metrics[name], value, rtol=2e-5, atol=1e-6, err_msg=name)
    for part in ("params", "batch_stats", "teacher_params"):
        assert relative_difference(getattr(other_state, part), getattr(state, part)) < 1e-5, part


def test_one_and_four_devices_agree(whole, ssl_batches):
    """SDE, DepthMix across devices, teacher, strong augmentation."""
    one, four, state = whole
    stepped = one(state, ssl_batches(0), WEIGHTS)
    assert set(stepped[1]) >= {"loss/supervised", "loss/depth", "loss/pseudo_label", "loss/total"}
    assert_same_step(stepped, four(state, ssl_batches(0), WEIGHTS))


def test_checkpoint_of_one_device_resumes_on_four(whole, ssl_batches, tmp_path):
    """The same step to rounding: BatchNorm, dropout and noise depend on the global batch only."""
    one, four, state = whole
    state, _ = one(state, ssl_batches(0), WEIGHTS)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        restored = checkpoints.restore(state)
    stepped = one(state, ssl_batches(1), WEIGHTS)
    assert relative_difference(stepped[0].params, state.params) > 1e-4
    assert relative_difference(stepped[0].batch_stats, state.batch_stats) > 1e-4
    assert_same_step(stepped, four(restored, ssl_batches(1), WEIGHTS))


def test_terms_follow_the_switches(config, multitask_network, multitask_variables, ssl_batches):
    step, state = make_training(
        config, multitask_network, multitask_variables, multitask=False, mix="none", pseudo_labels=False
    )
    state, metrics = replicate_over(step, 1)(state, {"labeled": ssl_batches(0)["labeled"]})
    assert {name for name in metrics if name.startswith("loss/")} == {"loss/supervised", "loss/total"}
    assert metrics["loss/total"] == metrics["loss/supervised"] and state.teacher_params == {}


def test_class_weights_are_for_annotations_alone(whole, ssl_batches):
    """In the loss of pseudo-labels they would amplify the teacher's preference for rare classes."""
    run, _, state = whole
    once, twice = (run(state, ssl_batches(0), weights)[1] for weights in (WEIGHTS, 2 * WEIGHTS))
    np.testing.assert_allclose(twice["loss/supervised"], 2 * once["loss/supervised"], rtol=1e-6)
    assert twice["loss/pseudo_label"] == once["loss/pseudo_label"] > 0


def test_first_teacher_is_the_first_student_and_keeps_its_own_statistics(whole, multitask_variables, ssl_batches):
    run, _, state = whole
    state, _ = run(state, ssl_batches(0), WEIGHTS)
    assert relative_difference(state.teacher_params, state.params) == 0  # decay is 0 at step 0
    assert relative_difference(state.params, multitask_variables["params"]) > 0
    means = [stats["encoder"]["stem"]["norm"]["mean"] for stats in (state.teacher_batch_stats, state.batch_stats)]
    assert not np.allclose(*means)


def test_batch_statistics_of_labelled_images_are_their_own(whole, ssl_batches):
    """With statistics shared with the pool, 600 steps on Streets ended 16 points of mIoU lower."""
    run, _, state = whole
    batches, other = ssl_batches(0), ssl_batches(1)
    losses = [
        run(state, {"labeled": batches["labeled"], "pool": pool}, WEIGHTS)[1]
        for pool in (batches["pool"], other["pool"])
    ]
    assert losses[0]["loss/supervised"] == losses[1]["loss/supervised"]
    assert losses[0]["loss/depth"] != losses[1]["loss/depth"]  # of both


def test_frozen_encoder_keeps_weights_but_not_statistics(config, depth_network, ssl_batches):
    """In a depth training, the same on one and on four devices: each sample gets the same jitter."""
    network, settings = depth_network.clone(dropout=0.5), config.depth.copy_and_resolve_references()
    settings.color_jitter = True
    variables = random_variables(network, 1, (32, 64))
    optimizer = adam({"encoder": 1e-3, "rest": 1e-3}, lambda step: 1.0, encoder_or_rest)
    batch = {"video": {k: v for k, v in ssl_batches(0)["labeled"].items() if k != "label"}}
    step = make_step(make_depth_objective(network, settings, frozen=True), optimizer, 0)
    state, metrics = replicate_over(step, 1)(create_state(variables, optimizer), batch)
    others, other_metrics = replicate_over(step, 4)(create_state(variables, optimizer), batch)
    # Not the gradient: at first hardly anything moves, and rounding decides which of two equal errors is the minimum.
    for name in ("loss/depth", "disparity/mean", "disparity/spatial_variation"):
        np.testing.assert_allclose(other_metrics[name], metrics[name], rtol=2e-5, err_msg=name)
    assert relative_difference(others.batch_stats, state.batch_stats) < 1e-5
    moved = {part: relative_difference(state.params[part], variables["params"][part]) for part in state.params}
    assert moved["encoder"] == 0 and min(moved["depth_decoder"], moved["pose"]) > 0
    assert relative_difference(state.batch_stats["encoder"], variables["batch_stats"]["encoder"]) > 0
    assert {"depth/warped_share", "disparity/spatial_variation"} <= set(metrics)


def test_feature_distance_pulls_towards_the_reference(config, depth_network, ssl_batches):
    variables, other = (random_variables(depth_network, seed, (32, 64)) for seed in (0, 1))
    depth = config.depth.copy_and_resolve_references()
    depth.feature_distance_weight = 0.5
    optimizer = adam({"encoder": 0.0, "rest": 0.0}, lambda step: 1.0, encoder_or_rest)
    reference = {key: {"encoder": other[key]["encoder"]} for key in ("params", "batch_stats")}
    step = make_step(make_depth_objective(depth_network, depth, frozen=False), optimizer, 0)
    batch = {"video": {k: v for k, v in ssl_batches(0)["labeled"].items() if k != "label"}}
    _, metrics = replicate_over(step, 1)(create_state(variables, optimizer, reference=reference), batch)
    assert metrics["loss/feature_distance"] > 0
    expected = metrics["loss/depth"] + 0.5 * metrics["loss/feature_distance"]
    np.testing.assert_allclose(metrics["loss/total"], expected, rtol=1e-6)


def test_sgd_clips_then_decays_then_adds_momentum():
    parameters = {"encoder": jnp.array([3.0]), "segmentation_decoder": jnp.array([-2.0])}
    optimizer = sgd(
        {"pretrained": 0.1, "scratch": 1.0}, lambda step: 1.0, pretrained_pose_or_scratch, 0.9, 0.01, clip_norm=10.0
    )
    state, momentum, values = optimizer.init(parameters), np.zeros(2), np.array([3.0, -2.0])
    for gradient in (np.array([30.0, 40.0]), np.array([0.3, 0.4])):
        updates, state = optimizer.update(
            {"encoder": jnp.array(gradient[:1]), "segmentation_decoder": jnp.array(gradient[1:])}, state, parameters
        )
        parameters = jax.tree.map(lambda p, u: p + u, parameters, updates)
        clipped = gradient * min(1, 10 / np.linalg.norm(gradient))
        momentum = clipped + 0.01 * values + 0.9 * momentum
        values = values - np.array([0.1, 1.0]) * momentum
        np.testing.assert_allclose([parameters["encoder"][0], parameters["segmentation_decoder"][0]], values, rtol=1e-6)


def test_schedules():
    step = learning_rate_schedule("step", 40, (30,), 0.1)
    np.testing.assert_allclose([step(0), step(29), step(31)], [1, 1, 0.1], rtol=1e-6)
    cosine = learning_rate_schedule("cosine", 40)
    np.testing.assert_allclose([cosine(0), cosine(20), cosine(40)], [1, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize(
    "path, part",
    [
        (("encoder", "stem"), "pretrained"),
        (("depth_decoder", "blocks"), "pretrained"),
        (("pose", "encoder"), "pose"),
        (("distillation", "to_depth", "conv"), "pretrained"),
        (("distillation", "to_segmentation", "conv"), "scratch"),
        (("segmentation_decoder", "heads"), "scratch"),
    ],
)
def test_parts_of_the_network_have_the_paper_s_learning_rates(path, part):
    assert pretrained_pose_or_scratch(path) == part


@pytest.mark.parametrize("init_decoder, pose", [("depth", 1e-6), ("scratch", 1e-2)])
def test_pose_network_learns_at_a_rate_of_its_own_once_it_is_pretrained(init_decoder, pose):
    parameters = {"pose": jnp.ones(2), "encoder": jnp.ones(2), "segmentation_decoder": jnp.ones(2)}
    config = default_config().segmentation
    config.init_decoder = init_decoder
    optimizer = segmentation_optimizer(config)
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, parameters), optimizer.init(parameters), parameters)
    rates = {part: -update[0] / config.weight_decay for part, update in updates.items()}
    assert rates == pytest.approx({"pose": pose, "encoder": 1e-3, "segmentation_decoder": 1e-2}, rel=1e-5)


def test_adam_starts_its_averages_when_the_encoder_is_unfrozen():
    """With averages over the frozen steps, its first steps would be several times too large."""
    config = default_config().depth
    config.frozen_steps, config.steps, config.decay_steps = 1000, 1100, ()
    parameters = {"encoder": jnp.ones(3), "depth_decoder": jnp.ones(3)}
    optimizer, fresh = depth_optimizer(config), optax.adam(config.encoder_learning_rate)
    update = jax.jit(lambda gradient, state: optimizer.update(gradient, state, parameters))
    state, fresh_state = optimizer.init(parameters), fresh.init(parameters["encoder"])
    rng = np.random.default_rng(0)
    for step in range(1010):
        gradient = {part: jnp.asarray(rng.normal(size=3), jnp.float32) for part in parameters}
        if step < config.frozen_steps:
            gradient["encoder"] = jnp.zeros(3)
        updates, state = update(gradient, state)
        if step < config.frozen_steps:
            assert not updates["encoder"].any() and updates["depth_decoder"].all()
        else:
            expected, fresh_state = fresh.update(gradient["encoder"], fresh_state)
            np.testing.assert_allclose(updates["encoder"], expected, rtol=1e-5)


def test_batch_not_divisible_by_the_devices():
    with pytest.raises(ValueError, match="a batch of 6 cannot be divided among 4 devices; use a multiple of 4"):
        check_batch_size(6, 4)
    with pytest.raises(ValueError, match="4 devices"):
        replicate(lambda state, batch: (state, batch))({}, {"image": np.zeros((3, 2))})


def toy_training(**shared):
    """Returns the step of a toy objective with noise and class weights, its state and its batch."""

    def objective(params, state, batches, key):
        noise = jax.random.normal(key, (3,))
        loss = jnp.mean((batches["x"] @ params["w"] + noise - 1) ** 2 * batches["class_weights"])
        return loss, Outcome({"toy": loss}, {}, {}, {})

    optimizer = optax.sgd(0.1)
    state = create_state({"params": {"w": np.ones((2, 3), np.float32)}, "batch_stats": {}}, optimizer)
    batch = {"x": np.arange(8, dtype=np.float32).reshape(4, 2)}
    return replicate(make_step(objective, optimizer), **shared), place(state), batch


def test_seed_and_class_weights_are_no_part_of_the_program(monkeypatch):
    programs, results, original = [], [], jax.pmap

    def recording(*arguments, **settings):
        programs.append(original(*arguments, **settings))
        return programs[-1]

    monkeypatch.setattr(replication.jax, "pmap", recording)
    settings = [(0, np.ones(3, np.float32)), (1, np.ones(3, np.float32)), (1, np.array([1, 2, 3], np.float32))]
    texts = []
    for seed, weights in settings:
        shared = {"seed": np.uint32(seed), "class_weights": weights}
        step, state, batch = toy_training(**shared)
        texts.append(programs[-1].lower(state, replication.put(batch), place(shared)).as_text())
        _, metrics = step(state, batch)
        results.append(float(metrics["loss/total"]))
    assert texts[0] == texts[1] == texts[2]

    x, expected = np.arange(8).reshape(4, 2), []
    for seed, weights in settings:
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(seed), 0), (3,))
        expected.append(np.mean((x.sum(1)[:, None] + noise - 1) ** 2 * weights))
    np.testing.assert_allclose(results, expected, rtol=1e-5)


def test_inference_over_devices_keeps_the_order():
    run = replication.replicate_inference(lambda variables, x: x * variables["scale"])
    x = np.arange(8.0, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(run({"scale": 3.0}, x), 3 * x)


@pytest.mark.parametrize("rule, factor", [("none", 1.0), ("linear", 4.0), ("sqrt", 2.0)])
@pytest.mark.parametrize("make, section", [(segmentation_optimizer, "segmentation"), (depth_optimizer, "depth")])
def test_learning_rate_rules(make, section, rule, factor):
    """At four times the reference batch size; the first update of either optimizer equals the rate."""
    config = default_config()[section]
    if section == "segmentation":
        config.optimizer = "adam"
    config.learning_rate_rule, config.batch_size = rule, 4 * config.reference_batch_size
    parameters = {"segmentation_decoder": jnp.ones(3)}
    optimizer = make(config)
    updates, _ = optimizer.update({"segmentation_decoder": jnp.ones(3)}, optimizer.init(parameters), parameters)
    np.testing.assert_allclose(updates["segmentation_decoder"], -factor * config.learning_rate, rtol=1e-5)
