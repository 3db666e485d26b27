"""DINOv2 and DINOv3 as encoders: tokens of four blocks, reassembled to five features (Ranftl et al. 2021)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sdeseg_jax.models.encoders.input_normalization import normalize
from sdeseg_jax.models.encoders.vision_transformer import Shape, VisionTransformer
from sdeseg_jax.models.layers import Dtype
from sdeseg_jax.models.resize import resize_bilinear

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TOKEN_STRIDE = 16
"""Pixels of the image per token, on each axis: images are resized to a patch per `TOKEN_STRIDE` pixels."""

_SIZES = {
    "small": (384, 12, 6, (2, 5, 8, 11)),
    "base": (768, 12, 12, (2, 5, 8, 11)),
    "large": (1024, 24, 16, (4, 11, 17, 23)),
}
"""Channels, blocks, heads, and the blocks whose tokens dense predictions are made from (Yang et al. 2024)."""
_SHARES = (16, 8, 4, 2, 1)
"""A feature has the tokens' channels divided by this, finest first."""


def _dinov2(size: str, registers: int) -> Shape:
    channels, blocks, heads, outputs = _SIZES[size]
    return Shape(channels, blocks, heads, 14, registers, 37, 1e-6, outputs)


def _dinov3(size: str) -> Shape:
    channels, blocks, heads, outputs = _SIZES[size]
    return Shape(channels, blocks, heads, 16, 4, 0, 1e-5, outputs)


DINOS = (
    {f"dinov2_{size}": _dinov2(size, 0) for size in _SIZES}
    | {f"dinov2_{size}_registers": _dinov2(size, 4) for size in _SIZES}
    | {f"dinov3_{size}": _dinov3(size) for size in _SIZES}
)
"""Encoder's name → its Vision Transformer."""


def feature_channels(backbone: str) -> tuple[int, ...]:
    """Returns the channels of the five features at width 1, finest first."""
    return tuple(DINOS[backbone].channels // share for share in _SHARES)


def scaled(shape: Shape, width: float) -> Shape:
    """Returns a network whose heads have `width` times the channels; as many as rotary encodings need."""
    per_head = max(4, round(shape.channels / shape.heads * width) // 4 * 4)
    return dataclasses.replace(shape, channels=per_head * shape.heads)


def name_of(params: Mapping[str, Any]) -> str | None:
    """Returns the key of DINOS that a parameter tree belongs to, or None; of another width, the one nearest to it."""
    tree = params.get("transformer")
    if not isinstance(tree, Mapping) or "patches" not in tree:
        return None
    patch, _, _, channels = tree["patches"]["kernel"].shape
    blocks = sum(name.startswith("block") for name in tree)
    registers = len(tree["registers"]) if "registers" in tree else 0
    fitting = [
        name
        for name, one in DINOS.items()
        if (one.patch, one.blocks, one.registers, one.grid > 0) == (patch, blocks, registers, "positions" in tree)
    ]
    return min(fitting, key=lambda name: abs(DINOS[name].channels - channels), default=None)


class DinoEncoder(nn.Module):
    """Images in [0, 1] → five features. The finest four are linear maps of tokens, the last one is the last tokens.

    Its parameters are `transformer`, which published weights have, and `reassembly`.

    Attributes:
      backbone: a key of DINOS.
      width: multiplier on its channels, 1 for published weights.
      output_stride: 8, 16 or 32.
      drop_path: see VisionTransformer.
      remat: recompute blocks in the backward pass.
      dtype: compute dtype.
      axis_name: mapped axis of synchronised BatchNorm, which it has none of.
      batch_axis: mapped axis over which the batch is split, or None.
    """

    backbone: str = "dinov2_small"
    width: float = 1.0
    output_stride: int = 16
    drop_path: float = 0.0
    remat: bool = False
    dtype: Dtype = jnp.float32
    axis_name: str | None = None
    batch_axis: str | None = None

    @nn.compact
    def __call__(self, images, train: bool, freeze: bool = False):
        """Returns five features, finest first, at strides 2, 4, 8, 16, 32, the last ones capped at `output_stride`.

        Args:
          images: [B, H, W, 3] in [0, 1], of any size.
          train: whether to drop paths.
          freeze: pass no gradients to the Vision Transformer; the reassembly learns.
        """
        shape = scaled(DINOS[self.backbone], self.width)
        height, width = images.shape[1:3]
        grid = tuple(-(-side // TOKEN_STRIDE) for side in (height, width))
        images = resize_bilinear(normalize(images, MEAN, STD), (grid[0] * shape.patch, grid[1] * shape.patch))
        transformer = VisionTransformer(
            shape, self.drop_path, self.remat, self.dtype, self.batch_axis, name="transformer"
        )
        tokens = transformer(images.astype(self.dtype), train and not freeze)
        if freeze:
            tokens = jax.lax.stop_gradient(tokens)
        strides = [min(2 ** (level + 1), self.output_stride) for level in range(5)]
        sizes = [(-(-height // stride), -(-width // stride)) for stride in strides]
        reassembly = Reassembly(tuple(shape.channels // share for share in _SHARES[:4]), self.dtype, name="reassembly")
        factors = [max(1, TOKEN_STRIDE // stride) for stride in strides]
        maps = [*reassembly((tokens[0], *tokens[:3]), factors), tokens[3]]
        return tuple(resize_bilinear(one, size) for one, size in zip(maps, sizes, strict=True))


class Reassembly(nn.Module):
    """Tokens → maps at multiples of their resolution: a linear map to the pixels of each token's square."""

    channels: tuple[int, ...]
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens, factors):
        """Tokens [B, h, w, C] and a factor f for each map → [B, f * h, f * w, channels]."""
        maps = []
        for level, (x, factor, channels) in enumerate(zip(tokens, factors, self.channels, strict=False)):
            batch, height, width, _ = x.shape
            x = nn.Dense(factor * factor * channels, dtype=self.dtype, name=f"level{level}")(x)
            x = x.reshape(batch, height, width, factor, factor, channels).transpose(0, 1, 3, 2, 4, 5)
            maps.append(x.reshape(batch, factor * height, factor * width, channels))
        return maps
