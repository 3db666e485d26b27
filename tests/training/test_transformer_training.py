"""What trainings of Vision Transformers need: AdamW, layer-wise decay, frozen encoders, dropped paths."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from sdeseg_jax.config import UserError, default_config, validate
from sdeseg_jax.models import build_network
from sdeseg_jax.models.encoders.dino import DINOS
from sdeseg_jax.training.optimizers_and_schedules import (
    depth_optimizer,
    layer_of,
    learning_rate_schedule,
    segmentation_optimizer,
)
from tests.training.steps import make_training, relative_difference, replicate_over

PARAMETERS = traverse_util.unflatten_dict(
    dict.fromkeys(
        (
            "encoder/transformer/patches",
            "encoder/transformer/block0",
            "encoder/transformer/block11",
            "encoder/transformer/norm",
            "encoder/reassembly/level0",
            "depth_decoder/a",
            "segmentation_decoder/a",
        ),
        np.ones(2, np.float32),
    ),
    sep="/",
)


def segmentation(**settings):
    config = default_config().segmentation
    config.init_encoder = "scratch"
    config.update(
        optimizer="adamw",
        learning_rate=2e-4,
        pretrained_learning_rate=5e-6,
        weight_decay=0.01,
        clip_norm=0.0,
        **settings,
    )
    return config


def updates_of(optimizer, gradient=1.0, steps=1):
    """Returns the updates of some steps with the same gradient everywhere, by path."""
    gradients = jax.tree.map(lambda x: jnp.full_like(x, gradient), PARAMETERS)
    parameters, state = jax.tree.map(jnp.asarray, PARAMETERS), optimizer.init(PARAMETERS)
    for _ in range(steps):
        updates, state = optimizer.update(gradients, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    return {key: value[0] for key, value in traverse_util.flatten_dict(updates, sep="/").items()}


def test_adamw_with_a_lower_rate_for_the_encoder():
    """Two steps, against optax's; what reassembles tokens starts from random weights, as the decoder does."""
    config = segmentation(schedule="poly")
    found = updates_of(segmentation_optimizer(config), 0.5, steps=2)
    for key, value in found.items():
        pretrained = key.startswith(("encoder/transformer", "depth_decoder"))
        rate = optax.polynomial_schedule(5e-6 if pretrained else 2e-4, 0.0, 0.9, config.steps)
        one, parameter = optax.adamw(rate, weight_decay=0.01), jnp.ones(1)
        state = one.init(parameter)
        for _ in range(2):
            update, state = one.update(jnp.full(1, 0.5), state, parameter)
            parameter = optax.apply_updates(parameter, update)
        np.testing.assert_allclose(value, update[0], rtol=1e-5, err_msg=key)


def test_a_reassembly_that_depth_training_has_trained_is_pretrained():
    found = updates_of(segmentation_optimizer(segmentation(init_encoder="depth")))
    assert found["encoder/reassembly/level0"] == pytest.approx(found["encoder/transformer/block0"])


def test_frozen_parts_are_in_the_state_of_frozen_encoders_alone():
    """Checkpoints of older versions have no such part."""
    states = [segmentation_optimizer(segmentation(freeze_encoder=frozen)).init(PARAMETERS) for frozen in (False, True)]
    assert ["frozen" in str(jax.tree.structure(state)) for state in states] == [False, True]


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_a_frozen_encoder_keeps_its_weights(optimizer):
    """Weight decay, too, leaves it alone; the reassembly learns."""
    config = segmentation(freeze_encoder=True)
    config.optimizer = optimizer
    found = updates_of(segmentation_optimizer(config), steps=3)
    assert all((found[key] == 0) == key.startswith("encoder/transformer") for key in found)


def test_layer_wise_decay():
    plain, decayed = (updates_of(segmentation_optimizer(segmentation(layer_decay=decay))) for decay in (1.0, 0.5))
    ratios = {key: float(decayed[key] / plain[key]) for key in plain}
    patches, first = ratios.pop("encoder/transformer/patches"), ratios.pop("encoder/transformer/block0")
    assert (patches, first) == pytest.approx((0.5**12, 0.5**11))
    assert all(value == pytest.approx(1) for value in ratios.values())
    layers = {
        ("encoder", "stem", "conv"): 0,
        ("encoder", "stage4_block2", "conv1"): 4,
        ("encoder", "block15", "expand"): 16,
        ("encoder", "transformer", "block2", "attention"): 3,
        ("pose", "encoder", "stage1_block0"): None,
    }
    assert {path: layer_of(path) for path in layers} == layers


def test_polynomial_schedule_and_rates_of_depth():
    schedule = learning_rate_schedule("poly", 40)
    np.testing.assert_allclose([schedule(0), schedule(20), schedule(40)], [1, 0.5**0.9, 0], atol=1e-6)
    config = default_config().depth
    config.learning_rate, config.encoder_learning_rate, config.frozen_steps = 1e-4, 5e-6, 0
    found = updates_of(depth_optimizer(config))
    rates = {"encoder/transformer/block0": 5e-6, "encoder/reassembly/level0": 1e-4, "depth_decoder/a": 1e-4}
    assert {key: -float(found[key]) for key in rates} == pytest.approx(rates, rel=1e-4)


def test_dropped_paths_are_the_same_on_any_number_of_devices(monkeypatch):
    """A linear head on a narrow network that drops half of its last paths; sample by sample, not device by device."""
    short = dataclasses.replace(DINOS["dinov3_small"], blocks=4, outputs=(0, 1, 2, 3))
    monkeypatch.setitem(DINOS, "dinov3_small", short)
    config = default_config()
    model = {"backbone": "dinov3_small", "width": 1 / 16, "num_classes": 19, "depth": False, "drop_path": 0.5}
    network = build_network(model, segmentation_head="linear", axis_name="devices")
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(4, 32, 32, 3)).astype(np.float32)
    batch = {"labeled": {"image": images, "label": rng.integers(0, 19, (4, 32, 32)).astype(np.int32)}}
    alone = network.clone(axis_name=None)
    variables = jax.jit(lambda key: alone.init(key, images[:1], False))(jax.random.key(0))
    settings = {"multitask": False, "pseudo_labels": False, "mix": "none", "optimizer": "sgd"}
    step, state = make_training(config, network, dict(variables), **settings)
    one, four = (replicate_over(step, devices)(state, batch)[0] for devices in (1, 4))
    assert relative_difference(one.params, four.params) < 1e-4
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), dict(state.params), dict(one.params))
    assert moved["encoder"]["transformer"]["block0"]["expand"]["kernel"] > 0
    assert moved["segmentation_decoder"]["classifier"]["kernel"] > 0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model.drop_path": 0.1}, "model.drop_path: resnet101 has no paths to drop"),
        ({"segmentation.head": "linear"}, "segmentation.multitask: segmentation.head = 'linear' has no decoder"),
        (
            {"segmentation.head": "linear", "segmentation.multitask": False, "segmentation.mix": "none"},
            "segmentation.init_decoder: segmentation.head = 'linear' has no decoder: set this to scratch",
        ),
        ({"model.backbone": "dinov2_small"}, "segmentation.optimizer: sgd, at rates.*arguments, encoder=dinov2_small"),
        ({"segmentation.layer_decay": 0.0}, "segmentation.layer_decay"),
        ({"model.pose_backbone": "dinov2_small"}, "model.pose_backbone: unknown value 'dinov2_small'"),
    ],
)
def test_settings_that_do_not_go_together(change, message):
    config = default_config()
    for key, value in change.items():
        section, name = key.split(".")
        config[section][name] = value
    with pytest.raises(UserError, match=message):
        validate(config)
