"""`encoder=` and `weights=` of the configs for a laptop's CPU."""

import pytest

from sdeseg_jax.config import UserError, validate
from sdeseg_jax.configs import camvid, streets

PRIOR = ("disparity_bias", "pose_rotation_scale", "pose_translation_bias")


@pytest.mark.parametrize("make", [streets.get_config, lambda text: camvid.get_config(f"size=small,{text}")])
def test_pretrained_encoders_start_from_their_weights_without_the_prior(make):
    small, lite, random = (
        make(text) for text in ("seed=0", "encoder=efficientnet_lite0", "encoder=resnet18,weights=random")
    )
    for config in (small, lite, random):
        validate(config)
    assert (small.model.backbone, small.model.width, small.init.encoder) == ("resnet18", 0.25, "")
    assert lite.model.backbone == lite.model.pose_backbone == "efficientnet_lite0"
    assert (lite.model.width, lite.model.pose_width) == (
        1.0,
        1.0,
    ) and lite.init.encoder == lite.init.pose == "pretrained"
    assert lite.segmentation.pretrained_learning_rate < small.segmentation.pretrained_learning_rate
    assert [lite.model[key] for key in PRIOR] == [0.0, 1.0, (0.0, 0.0, 0.0)]
    assert random.model.width == 1.0 and random.init.encoder == random.init.pose == ""
    assert (
        [random.model[key] for key in PRIOR]
        == [small.model[key] for key in PRIOR]
        != [lite.model[key] for key in PRIOR]
    )


@pytest.mark.parametrize(
    "argument, message",
    [
        ("encoder=efficientnet_lite", "encoder=efficientnet_lite is unknown; did you mean 'efficientnet_lite"),
        ("weights=pretraind", "weights=pretraind is unknown; did you mean 'pretrained'"),
        ("weights=pretrained", "none are published for encoder=resnet18_quarter"),
    ],
)
def test_wrong_values(argument, message):
    with pytest.raises(UserError, match=message):
        streets.get_config(argument)
