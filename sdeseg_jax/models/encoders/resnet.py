"""ResNet encoder (He et al. 2016) with dilated stages: paper section 4.2, ResNet-101 at output stride 16."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sdeseg_jax.models.encoders.input_normalization import normalize
from sdeseg_jax.models.layers import ConvNorm, Dtype

MEAN, STD = (0.45,) * 3, (0.225,) * 3
"""As in the paper's release and in Monodepth2, also with ImageNet weights: the same constants for every channel."""

# Blocks per stage, and whether they are bottlenecks (1×1, 3×3, 1×1 with four times the channels).
RESNETS = {
    "resnet10": ((1, 1, 1, 1), False),  # for tests: the same kinds of layers, and less to compile
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
}


def feature_channels(backbone: str) -> tuple[int, ...]:
    """Returns the channels of the five features at width 1, finest first."""
    expansion = 4 if RESNETS[backbone][1] else 1
    return (64, *(expansion * channels for channels in (64, 128, 256, 512)))


def name_of(params: Mapping[str, Any]) -> str | None:
    """Returns the key of RESNETS that a parameter tree belongs to, or None."""
    blocks = [name for name in params if name.startswith("stage")]
    counts = tuple(sum(name.startswith(f"stage{stage}_") for name in blocks) for stage in range(1, 5))
    known = (counts, "conv3" in params.get("stage1_block0", {}))
    return next((name for name, one in RESNETS.items() if one == known), None)


def max_pool(x):
    """3×3 max pooling, stride 2, padding 1: [B, H, W, C] → [B, ceil(H/2), ceil(W/2), C].

    Computed as maxima of even and odd samples, one axis at a time: forward and backward take 0.8 ms. A reduce-window,
    whose backward pass is a select-and-scatter, takes 12.7 ms, nine strided slices 6.1 ms ([2, 64, 128, 64] on two CPU
    cores).
    """
    for axis in (1, 2):
        if x.shape[axis] % 2:
            x = _pad(x, axis, 0, 1)
        even = jax.lax.slice_in_dim(x, 0, None, 2, axis)
        odd = jax.lax.slice_in_dim(x, 1, None, 2, axis)
        before = _pad(jax.lax.slice_in_dim(odd, 0, -1, 1, axis), axis, 1, 0)
        x = jnp.maximum(jnp.maximum(even, odd), before)
    return x


def _pad(x, axis: int, before: int, after: int):
    padding = [(0, 0)] * x.ndim
    padding[axis] = (before, after)
    return jnp.pad(x, padding, constant_values=-jnp.inf)


class ResidualBlock(nn.Module):
    """Basic (two 3×3) or bottleneck (1×1, 3×3, 1×1) residual block; the first 3×3 has the stride."""

    channels: int  # of the 3×3 convolutions; a bottleneck returns four times as many
    bottleneck: bool
    stride: int = 1
    dilation: int = 1
    project: bool = False  # 1×1 convolution on the shortcut, if the shape changes
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    def setup(self):
        common = {"dtype": self.dtype, "axis_name": self.axis_name}
        strided = {"stride": self.stride, "dilation": self.dilation}
        out = 4 * self.channels if self.bottleneck else self.channels
        if self.bottleneck:
            self.conv1 = ConvNorm(self.channels, 1, **common)
            self.conv2 = ConvNorm(self.channels, 3, **strided, **common)
            self.conv3 = ConvNorm(out, 1, relu=False, **common)
        else:
            self.conv1 = ConvNorm(self.channels, 3, **strided, **common)
            self.conv2 = ConvNorm(out, 3, dilation=self.dilation, relu=False, **common)
        if self.project:
            self.shortcut = ConvNorm(out, 1, self.stride, relu=False, **common)

    def __call__(self, x, train: bool):
        """[B, H, W, C] → [B, H / stride, W / stride, channels (×4)]."""
        residual = self.conv2(self.conv1(x, train), train)
        if self.bottleneck:
            residual = self.conv3(residual, train)
        return nn.relu(residual + (self.shortcut(x, train) if self.project else x))


class ResNet(nn.Module):
    """Images in [0, 1] → features after the stem and after each of the four stages.

    Stages beyond `output_stride` are dilated instead of strided. As in torchvision, the first block of a dilated stage
    keeps the dilation of the stage before it.
    """

    backbone: str = "resnet101"
    width: float = 1.0  # multiplies every channel count
    output_stride: int = 32
    remat: bool = False
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    def setup(self):
        blocks, bottleneck = RESNETS[self.backbone]
        common = {"dtype": self.dtype, "axis_name": self.axis_name}
        base = max(1, round(64 * self.width))
        self.stem = ConvNorm(base, 7, 2, **common)

        block_class = nn.remat(ResidualBlock, static_argnums=(2,)) if self.remat else ResidualBlock
        names, stride, dilation = [], 4, 1
        for stage, count in enumerate(blocks, start=1):
            first_stride, first_dilation = (1 if stage == 1 else 2), dilation
            if stride * first_stride > self.output_stride:
                dilation, first_stride = dilation * first_stride, 1
            stride *= first_stride
            for block in range(count):
                name = f"stage{stage}_block{block}"
                first = block == 0
                module = block_class(
                    channels=base * 2 ** (stage - 1),
                    bottleneck=bottleneck,
                    stride=first_stride if first else 1,
                    dilation=first_dilation if first else dilation,
                    project=first and (stage > 1 or bottleneck),
                    **common,
                )
                setattr(self, name, module)
                names.append((stage, name))
        self.block_names = tuple(names)

    def __call__(self, images, train: bool, freeze: bool = False):
        """Returns five features, finest first, at strides 2, 4, 8, 16, 32, the last ones capped at `output_stride`.

        Args:
          images: [B, H, W, 3 (or 6 for a pair of frames)] in [0, 1].
          train: whether to normalise with the batch's statistics and update the running ones.
          freeze: pass no gradients to the encoder.
        """
        x = self.stem(normalize(images, MEAN, STD).astype(self.dtype), train)
        features = [x]
        x = max_pool(x)
        for index, (stage, name) in enumerate(self.block_names):
            x = getattr(self, name)(x, train)
            if index + 1 == len(self.block_names) or self.block_names[index + 1][0] != stage:
                features.append(x)
        return jax.lax.stop_gradient(tuple(features)) if freeze else tuple(features)
