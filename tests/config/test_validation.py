"""Configs: all of them load and build; what is wrong is refused with the key and the nearest valid name."""

import functools

import jax
import ml_collections
import pytest

from sdeseg_jax.config import UserError, baseline_config, default_config, flatten, validate
from sdeseg_jax.configs import (
    camvid,
    cityscapes,
    common,
    folder,
    gta5_to_cityscapes,
    kitti_odometry,
    streets,
    streets_source_to_streets,
    synthia_to_cityscapes,
)
from sdeseg_jax.jobs import JOBS
from sdeseg_jax.runs import build_networks

CONFIGS = [(streets, argument) for argument in ("", "labels=24,seed=3", "size=tiny", "mix=none", "multitask=true")] + [
    (cityscapes, argument) for argument in ("", "labels=100", "labels=2975,seed=2", "mix=none", "multitask=false")
]


CONFIGS += [(streets, "selection=ds_us"), (cityscapes, "selection=entropy,labels=100"), (camvid, "selection=diversity")]
CONFIGS += [(streets_source_to_streets, argument) for argument in ("", "size=tiny,cross=class,matching=false")]
CONFIGS += [
    (gta5_to_cityscapes, argument) for argument in ("", "selection=ds_us", "source=false,cross=none,matching=false")
]
CONFIGS += [(synthia_to_cityscapes, argument) for argument in ("", "classes=13,labels=2975", "classes=19")]
CONFIGS += [(camvid, argument) for argument in ("", "labels=0,mix=none", "size=small,seed=1")]
DEPTH_CONFIGS = [(kitti_odometry, "size=small,train=train[:41],test=train[41:]"), (kitti_odometry, "")]
DEPTH_CONFIGS += [
    (folder, argument)
    for argument in ("", "stages=select,annotate=30", "stages=depth,crop=256x320", "multitask=true,size=small")
]
"""Of datasets without labels, or with classes that are known when they are prepared."""


@functools.cache  # configs share networks
def parameter_count(network):
    images = jax.ShapeDtypeStruct((2, 64, 128, 3), "float32")
    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = jax.eval_shape(lambda k, x: network.init({"params": k, "dropout": k}, x, method="init_all"), key, images)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize("module, argument", CONFIGS)
def test_config_is_valid_and_builds_its_networks(module, argument):
    config = module.get_config(argument)
    validate(config)
    validate(baseline_config(config))
    for network in (build_networks.depth_network(config), build_networks.segmentation_network(config)):
        assert parameter_count(network) > 10_000
    if config.data.labels_from == "selection":
        for segmentation in (False, True):
            assert parameter_count(build_networks.student_network(config, segmentation)) > 10_000


@pytest.mark.parametrize("module, argument", DEPTH_CONFIGS)
def test_config_is_valid_and_builds_its_depth_network(module, argument):
    config = module.get_config(argument)
    validate(config)
    validate(baseline_config(config))
    assert parameter_count(build_networks.depth_network(config)) > 10_000


@pytest.mark.parametrize(
    "module, argument, message",
    [
        (folder, "stages=dept", "stages=dept is unknown; did you mean 'depth'"),
        (streets, "selection=ds-us", "selection=ds-us is unknown; did you mean 'ds_us'"),
        (streets, "disparity=store", "disparity=store is unknown; did you mean 'stored'"),
        (streets, "disparity=online", "disparity=online: the student predicts disparity only with multitask=true"),
        (camvid, "selection=ds_us,labels=0", "selection needs labels=N"),
        (folder, "crop=512", "crop=512 should be HEIGHTxWIDTH"),
        (camvid, "size=tiny", "size=tiny is unknown; valid: 'full', 'small'"),
        (kitti_odometry, "labels=3", "'labels' is unknown"),
    ],
)
def test_wrong_arguments_of_configs(module, argument, message):
    with pytest.raises(UserError, match=message):
        module.get_config(argument)


def test_datasets_without_labels_cannot_be_segmented():
    with pytest.raises(UserError, match="'kitti_odometry' has no labels; use it to learn depth"):
        build_networks.segmentation_network(kitti_odometry.get_config())


def test_cityscapes_has_the_paper_s_settings():
    config = cityscapes.get_config()
    assert config.model.backbone == "resnet101" and tuple(config.data.crop) == (512, 512)
    segmentation, depth = config.segmentation, config.depth
    assert (segmentation.batch_size, segmentation.steps, segmentation.learning_rate) == (2, 40_000, 0.01)
    assert (depth.steps, depth.frozen_steps, depth.feature_distance_weight) == (350_000, 300_000, 0.01)
    # ResNet-101 with ASPP and decoder, twice, and the ResNet-18 pose network.
    assert 80e6 < parameter_count(build_networks.segmentation_network(config)) < 110e6


def changed(**values):
    config = streets.get_config()
    with config.unlocked(), config.ignore_type():
        for key, value in values.items():
            section, name = key.split("__")
            config[section][name] = value
    return config


@pytest.mark.parametrize(
    "config, message",
    [
        (
            changed(segmentation__mixx="depth"),
            "config.segmentation.mixx: no such setting; did you mean 'segmentation.mix'",
        ),
        (changed(segmentation__mix="dpeth"), "config.segmentation.mix: unknown value 'dpeth'; did you mean 'depth'"),
        (changed(model__backbone="resnet11"), "did you mean 'resnet1"),
        (changed(data__name="street"), "config.data.name: unknown value 'street'; did you mean 'streets'"),
        (changed(depth__steps="many"), "config.depth.steps: 'many' should be of type int"),
        (changed(depth__automask=1), "config.depth.automask: 1 should be of type bool"),
        (changed(depth__batch_size=0), "config.depth.batch_size: 0 should be 1 to 4096"),
        (changed(segmentation__batch_size=1), "mixing pairs the images of a batch, which needs at least 2"),
        (changed(data__crop=(100, 192)), r"config.data.crop: \(100, 192\) should be multiples of 32"),
        (changed(segmentation__mix_disparity="online"), "'online' needs segmentation.multitask"),
        (changed(segmentation__pseudo_labels=False), "mixes pseudo-labelled images"),
        (
            changed(pipeline__stages=("train", "evalaute")),
            "config.pipeline.stages: unknown value 'evalaute'; did you mean 'evaluate'",
        ),
        (changed(depth__min_depth=200.0), "config.depth.min_depth"),
        (streets.get_config("seed=-1"), "config.seed: -1 should be 0 to 2147483647"),
        (changed(segmentation__learning_rate=-1.0), "config.segmentation.learning_rate: -1.0 should be 0 to 1000000.0"),
        (changed(data__crop=()), "config.data.crop"),
        (changed(data__crop=("a", 64)), r"config.data.crop: \('a', 64\) should be of type tuple of int"),
        (changed(depth__decay_steps=(1.5,)), r"config.depth.decay_steps: \(1.5,\) should be of type tuple of int"),
    ],
)
def test_what_is_wrong_is_named(config, message):
    with pytest.raises(UserError, match=message):
        validate(config)


def test_all_problems_at_once():
    with pytest.raises(UserError) as caught:
        validate(changed(segmentation__mix="dpeth", data__name="x", depth__steps=1.5))
    assert all(key in str(caught.value) for key in ("segmentation.mix", "data.name", "depth.steps"))


def test_all_kinds_of_problems_at_once():
    """Types, values, ranges, and what does not go together: none hides another."""
    config = default_config()
    config.data.protocol, config.depth.batch_size, config.data.crop = "x", 0, (100, 64)
    config.segmentation.mix_disparity, config.segmentation.multitask = "online", False
    with config.segmentation.ignore_type():
        config.segmentation.steps = "many"
    with pytest.raises(UserError) as caught:
        validate(config)
    message = str(caught.value)
    parts = [
        "data.protocol: unknown value 'x'", "depth.batch_size: 0 should be 1", "data.crop: (100, 64) should be",
        "segmentation.steps: 'many' should be of type int", "segmentation.mix_disparity: 'online' needs",
    ]  # fmt: skip
    for part in parts:
        assert message.count(f"config.{part}") == 1, message
    assert len(message.splitlines()) == 6


def test_missing_keys_of_a_config_from_scratch():
    with pytest.raises(UserError, match=r"config.depth.steps: missing"):
        validate(ml_collections.ConfigDict({"seed": 0}))


@pytest.mark.parametrize(
    "argument, message",
    [
        ("lables=3", "config argument 'lables' is unknown; did you mean 'labels'"),
        ("labels=few", "labels=<int>"),
        ("labels", "needs a value|labels=<int>"),
        ("multitask=maybe", "multitask=<bool>"),
        ("size=huge", "valid: 'quick', 'tiny'"),
    ],
)
def test_wrong_arguments_after_the_colon(argument, message):
    with pytest.raises(UserError, match=message):
        streets.get_config(argument)


def test_a_bare_argument_is_true():
    assert common.parse_arguments("on,n=3", on=False, n=1, name="a") == {"on": True, "n": 3, "name": "a"}


def test_baseline_switches_the_terms_off_and_nothing_else():
    config = streets_source_to_streets.get_config("multitask=true")
    different = {key for key, value in flatten(baseline_config(config)).items() if flatten(config)[key] != value}
    assert different == {f"segmentation.{key}" for key in config.baseline}


def test_every_stage_is_a_job():
    assert set(default_config().pipeline.stages) < set(JOBS)


def test_selection_ends_at_the_number_of_labels_and_brings_its_stages():
    config = cityscapes.get_config("mix=supervised,depth=none,multitask=false,labels=100,selection=ds_us")
    assert tuple(config.selection.schedule) == (25, 50, 100)
    assert config.pipeline.stages[:3] == ("pretrain_depth", "estimate_depth", "select_labels")
    assert cityscapes.get_config("labels=120,selection=random").selection.schedule == (25, 50, 100, 120)
    entropy = cityscapes.get_config("mix=supervised,depth=none,multitask=false,selection=entropy")
    assert entropy.pipeline.stages[0] == "select_labels"
    diversity = cityscapes.get_config("mix=supervised,depth=none,multitask=false,selection=diversity")
    assert diversity.pipeline.stages[:2] == ("pretrain_depth", "select_labels")
    assert "select_labels" not in cityscapes.get_config("").pipeline.stages
