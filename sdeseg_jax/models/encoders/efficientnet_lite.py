"""EfficientNet-Lite encoders: inverted residual blocks with ReLU6, without squeeze-and-excitation (Tan & Le 2019)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sdeseg_jax.models.encoders.depthwise_convolution import depthwise_convolution, same_padding
from sdeseg_jax.models.encoders.input_normalization import normalize
from sdeseg_jax.models.layers import Conv, Dtype, batch_norm

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Input is (255 image - 127) / 128."""

_EPSILON = 1e-3
_STEM = 32

# Of the unscaled network, by stage: blocks, kernel, stride, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_FEATURES = (0, 1, 2, 4, 6)
"""Stages whose last block is a feature: the last ones before the stride doubles."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Multipliers of channels and of the number of blocks."""

    width: float
    depth: float


LITES = {
    "efficientnet_lite0": Scale(1.0, 1.0),
    "efficientnet_lite1": Scale(1.0, 1.1),
    "efficientnet_lite2": Scale(1.1, 1.2),
}


@dataclasses.dataclass(frozen=True)
class BlockShape:
    """One inverted residual block."""

    stage: int
    kernel: int
    stride: int
    dilation: int
    expansion: int
    channels: int
    residual: bool


def scaled_channels(channels: float) -> int:
    """Rounds to the nearest multiple of eight that is not below 90 percent."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def block_shapes(backbone: str, output_stride: int = 32, width: float = 1.0) -> list[BlockShape]:
    """Returns the blocks of a network, first to last.

    As in the ResNets, stages beyond `output_stride` are dilated instead of strided, and the first block of a dilated
    stage keeps the dilation before it.
    """
    scale, blocks, stride, dilation, before = LITES[backbone], [], 2, 1, 0
    for stage, (count, kernel, stage_stride, expansion, channels) in enumerate(_STAGES):
        first_stride, first_dilation = stage_stride, dilation
        if stride * stage_stride > output_stride:
            first_stride, dilation = 1, dilation * stage_stride
        stride *= first_stride
        inner = stage not in (0, len(_STAGES) - 1)  # Lite networks repeat the outer stages' blocks as they are
        repeats = -int(-count * scale.depth // 1) if inner else count
        channels = scaled_channels(channels * scale.width * width)
        for block in range(repeats):
            first = block == 0
            shape = (kernel, first_stride if first else 1, first_dilation if first else dilation)
            blocks.append(BlockShape(stage, *shape, expansion, channels, channels == before and shape[1] == 1))
            before = channels
    return blocks


def feature_channels(backbone: str, width: float = 1.0) -> tuple[int, ...]:
    """Returns the channels of the five features, finest first."""
    channels = {block.stage: block.channels for block in block_shapes(backbone, width=width)}
    return tuple(channels[stage] for stage in _FEATURES)


def name_of(params: Mapping[str, Any]) -> str | None:
    """Returns the key of LITES that a parameter tree belongs to, or None; of another width, the one nearest to it."""
    blocks = [params[f"block{number}"] for number in range(len(params)) if f"block{number}" in params]
    try:
        channels = [block["project"]["conv"]["kernel"].shape[-1] for block in blocks]
    except (KeyError, TypeError, AttributeError):
        return None
    wanted = {name: [one.channels for one in block_shapes(name)] for name in LITES}
    fitting = [name for name in LITES if channels and len(wanted[name]) == len(channels)]
    return min(fitting, key=lambda name: abs(sum(wanted[name]) - sum(channels)), default=None)


class DepthwiseConv(nn.Module):
    """Depthwise convolution without bias; its kernel is [k, k, 1, C]."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        """[B, H, W, C] → [B, ceil(H / stride), ceil(W / stride), C]."""
        shape = (self.kernel, self.kernel, 1, x.shape[-1])
        # Its fan-out, in the sense of He et al. 2015, is that of one channel.
        init = nn.initializers.normal((2 / self.kernel**2) ** 0.5)
        kernel = self.param("kernel", init, shape, jnp.float32)
        return depthwise_convolution(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.dilation)


class ConvNormReLU6(nn.Module):
    """Convolution ('SAME' padding, no bias) → BatchNorm → optional ReLU6."""

    features: int | None  # None: depthwise
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    relu: bool = True
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train: bool):
        """[B, H, W, C] → [B, ceil(H / stride), ceil(W / stride), features]."""
        if self.features is None:
            x = DepthwiseConv(self.kernel, self.stride, self.dilation, self.dtype, name="conv")(x)
        else:
            x = Conv(
                self.features,
                (self.kernel, self.kernel),
                strides=self.stride,
                padding=[same_padding(side, self.kernel, self.stride) for side in x.shape[1:3]],
                use_bias=False,
                kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
                dtype=self.dtype,
                name="conv",
            )(x)
        norm = batch_norm(self.dtype, self.axis_name, _EPSILON, name="norm")
        x = norm(x, use_running_average=not train)
        return nn.relu6(x) if self.relu else x


class InvertedResidual(nn.Module):
    """1×1 expansion → depthwise convolution → linear 1×1 projection, added to the input if the shape allows."""

    shape: BlockShape
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train: bool):
        """[B, H, W, C] → [B, ceil(H / stride), ceil(W / stride), channels]."""
        shape, common = self.shape, {"dtype": self.dtype, "axis_name": self.axis_name}
        inner = x
        if shape.expansion > 1:
            inner = ConvNormReLU6(shape.expansion * x.shape[-1], **common, name="expand")(inner, train)
        size: dict[str, Any] = {"kernel": shape.kernel, "stride": shape.stride, "dilation": shape.dilation}
        inner = ConvNormReLU6(None, **size, **common, name="depthwise")(inner, train)
        inner = ConvNormReLU6(shape.channels, relu=False, **common, name="project")(inner, train)
        return inner + x if shape.residual else inner


class EfficientNetLite(nn.Module):
    """Images in [0, 1] → features after the last block of each resolution.

    Attributes:
      backbone: a key of LITES.
      width: multiplier on its channels, 1 for published weights.
      output_stride: 8, 16 or 32.
      remat: recompute blocks in the backward pass.
      dtype: compute dtype.
      axis_name: mapped axis of synchronised BatchNorm, or None.
    """

    backbone: str = "efficientnet_lite0"
    width: float = 1.0
    output_stride: int = 32
    remat: bool = False
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, train: bool, freeze: bool = False):
        """Returns five features, finest first, at strides 2, 4, 8, 16, 32, the last ones capped at `output_stride`.

        Args:
          images: [B, H, W, 3 (or 6 for a pair of frames)] in [0, 1].
          train: whether to normalise with the batch's statistics and update the running ones.
          freeze: pass no gradients to the encoder.
        """
        common = {"dtype": self.dtype, "axis_name": self.axis_name}
        stem = scaled_channels(_STEM * self.width)  # Lite networks do not scale it
        x = ConvNormReLU6(stem, 3, 2, **common, name="stem")(normalize(images, MEAN, STD).astype(self.dtype), train)
        make = nn.remat(InvertedResidual, static_argnums=(2,)) if self.remat else InvertedResidual
        blocks, features = block_shapes(self.backbone, self.output_stride, self.width), []
        for number, shape in enumerate(blocks):
            x = make(shape, **common, name=f"block{number}")(x, train)
            last = number + 1 == len(blocks) or blocks[number + 1].stage != shape.stage
            if last and shape.stage in _FEATURES:
                features.append(x)
        return jax.lax.stop_gradient(tuple(features)) if freeze else tuple(features)
