"""The encoders by name. Nothing else in the package knows an encoder's name."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.models.encoders import efficientnet_lite, resnet
from sdeseg_jax.models.encoders.efficientnet_lite import LITES, EfficientNetLite
from sdeseg_jax.models.encoders.resnet import RESNETS, ResNet


@dataclasses.dataclass(frozen=True)
class Encoder:
    """One entry of the registry.

    Attributes:
      make: (width, output_stride, remat, dtype, axis_name, name) -> module, a function of images [B, H, W, 3 or 6] in
        [0, 1] and `train` that returns five features, finest first, at strides 2, 4, 8, 16, 32, the last ones capped at
        the output stride. The module normalises the images itself.
      channels: of the five features at width 1.
      mean, std: of red, green and blue, that images in [0, 1] are normalised with.
      takes_pairs: whether two frames, stacked on the channel axis, can be its input: for the pose network.
    """

    make: Callable[..., nn.Module]
    channels: tuple[int, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    takes_pairs: bool = True


def _resnet(name: str) -> Encoder:
    make = functools.partial(ResNet, backbone=name)
    return Encoder(make, resnet.feature_channels(name), resnet.MEAN, resnet.STD)


def _lite(name: str) -> Encoder:
    make = functools.partial(EfficientNetLite, backbone=name)
    return Encoder(make, efficientnet_lite.feature_channels(name), efficientnet_lite.MEAN, efficientnet_lite.STD)


ENCODERS: dict[str, Encoder] = {name: _resnet(name) for name in RESNETS} | {name: _lite(name) for name in LITES}
"""Value of the setting model.backbone -> encoder."""


def make_encoder(backbone: str, **settings: Any) -> nn.Module:
    """Returns the Flax module of an encoder; `settings` as for `Encoder.make`.

    Raises:
      ValueError: the name is unknown.
    """
    if backbone not in ENCODERS:
        raise ValueError(f"encoder {backbone!r} is unknown{nearest(backbone, ENCODERS)}")
    return ENCODERS[backbone].make(**settings)


def encoder_name(params: Mapping[str, Any]) -> str | None:
    """Returns the name of the encoder that a parameter tree belongs to, at any width; None if it is of none."""
    return resnet.name_of(params) or efficientnet_lite.name_of(params)
