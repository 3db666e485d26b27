"""The encoders by name. Nothing else in the package knows an encoder's name."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.models.encoders import dino, efficientnet_lite, resnet
from sdeseg_jax.models.encoders.dino import DINOS, DinoEncoder
from sdeseg_jax.models.encoders.efficientnet_lite import LITES, EfficientNetLite
from sdeseg_jax.models.encoders.resnet import RESNETS, ResNet


@dataclasses.dataclass(frozen=True)
class Rates:
    """How published weights are trained further.

    Attributes:
      share: learning rate of the encoder, as a share of that of parts that start from random weights.
      adamw: learning rate of these parts with AdamW, weight decay 0.01 and a polynomial schedule, for encoders that SGD
        does not suit; None leaves the optimizer to the config.
      feature_distance: whether depth training profits from the feature distance (Eq. 6).
    """

    share: float = 0.1
    adamw: float | None = None
    feature_distance: bool = True


@dataclasses.dataclass(frozen=True)
class Encoder:
    """One entry of the registry.

    Attributes:
      make: (width, output_stride, remat, dtype, axis_name, name) -> module, a function of images [B, H, W, 3 or 6] in
        [0, 1], `train` and `freeze` that returns five features, finest first, at strides 2, 4, 8, 16, 32, the last ones
        capped at the output stride. The module normalises the images itself, and takes any size.
      channels: of the five features at width 1.
      mean, std: of red, green and blue, that images in [0, 1] are normalised with.
      rates: for its published weights.
      takes_pairs: whether two frames, stacked on the channel axis, can be its input: for the pose network.
      drops_paths: whether it is a Vision Transformer, whose constructor also takes drop_path and batch_axis.
    """

    make: Callable[..., nn.Module]
    channels: tuple[int, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rates: Rates
    takes_pairs: bool = True
    drops_paths: bool = False


def _resnet(name: str) -> Encoder:
    make = functools.partial(ResNet, backbone=name)
    return Encoder(make, resnet.feature_channels(name), resnet.MEAN, resnet.STD, Rates())


def _lite(name: str) -> Encoder:
    make = functools.partial(EfficientNetLite, backbone=name)
    channels = efficientnet_lite.feature_channels(name)
    return Encoder(make, channels, efficientnet_lite.MEAN, efficientnet_lite.STD, Rates())


def _dino(name: str) -> Encoder:
    make, channels = functools.partial(DinoEncoder, backbone=name), dino.feature_channels(name)
    rates = Rates(share=1 / 40, adamw=2e-4, feature_distance=False)  # of UniMatch V2 (Yang et al. 2025)
    return Encoder(make, channels, dino.MEAN, dino.STD, rates, takes_pairs=False, drops_paths=True)


ENCODERS: dict[str, Encoder] = (
    {name: _resnet(name) for name in RESNETS}
    | {name: _lite(name) for name in LITES}
    | {name: _dino(name) for name in DINOS}
)
"""Value of the setting model.backbone -> encoder."""


def make_encoder(backbone: str, drop_path: float = 0.0, batch_axis: str | None = None, **settings: Any) -> nn.Module:
    """Returns the Flax module of an encoder.

    Args:
      backbone: its name.
      drop_path: rate at which samples skip the blocks of a Vision Transformer.
      batch_axis: mapped axis over which the batch is split, or None.
      **settings: as for `Encoder.make`.

    Raises:
      ValueError: the name is unknown, or the encoder cannot drop paths.
    """
    if backbone not in ENCODERS:
        raise ValueError(f"encoder {backbone!r} is unknown{nearest(backbone, ENCODERS)}")
    encoder = ENCODERS[backbone]
    if encoder.drops_paths:
        settings |= {"drop_path": drop_path, "batch_axis": batch_axis}
    elif drop_path:
        raise ValueError(f"drop_path={drop_path} is for Vision Transformers; {backbone} has no paths to drop")
    return encoder.make(**settings)


def encoder_name(params: Mapping[str, Any]) -> str | None:
    """Returns the name of the encoder that a parameter tree belongs to, at any width; None if it is of none."""
    return resnet.name_of(params) or efficientnet_lite.name_of(params) or dino.name_of(params)
