"""U-Net decoder with ASPP, the same design for depth and segmentation: paper section 4.2 and Fig. 4."""

from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from sdeseg_jax.models.aspp import ASPP
from sdeseg_jax.models.layers import Conv, Dtype, batch_norm
from sdeseg_jax.models.resize import resize_bilinear, upsample_nearest


class DecoderConv(nn.Module):
    """3×3 convolution with reflection padding → optional BatchNorm → ELU."""

    features: int
    norm: bool = False
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    def setup(self):
        self.conv = Conv(self.features, (3, 3), padding="REFLECT", dtype=self.dtype)
        if self.norm:
            self.batch_norm = batch_norm(self.dtype, self.axis_name)

    def __call__(self, x, train: bool):
        """[B, H, W, C] → [B, H, W, features]; H and W at least 2 pixels (reflection)."""
        x = self.conv(x)
        if self.norm:
            x = self.batch_norm(x, use_running_average=not train)
        return nn.elu(x)


class DecoderBlock(nn.Module):
    """One level: reduce (ASPP at the coarsest, else 3×3) → nearest ×2 if needed → concatenate skip → 3×3."""

    features: int
    aspp_rates: tuple[int, ...] | None = None  # ASPP instead of the first convolution
    dropout: float = 0.5
    norm: bool = False
    dtype: Dtype = jnp.float32
    axis_name: str | None = None
    batch_axis: str | None = None  # over which the batch is split, see Dropout

    def setup(self):
        common = {"dtype": self.dtype, "axis_name": self.axis_name}
        if self.aspp_rates is not None:
            self.aspp = ASPP(self.features, self.aspp_rates, self.dropout, batch_axis=self.batch_axis, **common)
        else:
            self.reduce = DecoderConv(self.features, self.norm, **common)
        self.fuse = DecoderConv(self.features, self.norm, **common)

    def __call__(self, x, skip, train: bool):
        """[B, h, w, C] and the skip [B, H, W, D] with H in {h, 2h} → [B, H, W, features].

        Without a skip (None, the finest block) the result has twice the resolution of the input.
        """
        x = self.aspp(x, train) if self.aspp_rates is not None else self.reduce(x, train)
        if skip is None or x.shape[1] < skip.shape[1]:
            x = upsample_nearest(x)
        if skip is not None:
            x = jnp.concatenate([x, skip], axis=-1)
        return self.fuse(x, train)


class UNetDecoder(nn.Module):
    """Blocks 4 (coarsest) to 0 (full resolution). Block i > 0 ends at the resolution of encoder feature i - 1.

    The blocks can run in two parts, because PAD exchanges features between the decoders half-way (section 3.3).
    """

    channels: tuple[int, ...] = (64, 128, 128, 256, 256)  # of block 0..4
    aspp_rates: tuple[int, ...] = (6, 12, 18)
    dropout: float = 0.5
    norm: bool = False
    last: int = 0  # finest block that exists
    remat: bool = False
    dtype: Dtype = jnp.float32
    axis_name: str | None = None
    batch_axis: str | None = None

    def setup(self):
        block_class = nn.remat(DecoderBlock, static_argnums=(3,)) if self.remat else DecoderBlock
        for i in range(4, self.last - 1, -1):
            block = block_class(
                self.channels[i],
                aspp_rates=self.aspp_rates if i == 4 else None,
                dropout=self.dropout,
                norm=self.norm,
                dtype=self.dtype,
                axis_name=self.axis_name,
                batch_axis=self.batch_axis,
            )
            setattr(self, f"block{i}", block)

    def __call__(self, features: Sequence[jax.Array], train: bool, stop: int | None = None) -> dict[int, jax.Array]:
        """Runs blocks 4..stop (default: the finest) on the encoder's five features; returns outputs by block."""
        return self.resume({}, features[4], features, train, first=4, stop=stop)

    def resume(self, outputs, x, features, train: bool, first: int, stop: int | None = None) -> dict[int, jax.Array]:
        """Runs blocks first..stop (default: the finest) and returns `outputs` with theirs.

        Args:
          outputs: outputs by block of an earlier call; not modified.
          x: input of block `first`, [B, h, w, C].
          features: the encoder's five features, finest first.
          train: whether to use batch statistics and dropout.
          first, stop: first and last block to run.
        """
        outputs = dict(outputs)
        for i in range(first, (self.last if stop is None else stop) - 1, -1):
            x = getattr(self, f"block{i}")(x, features[i - 1] if i > 0 else None, train)
            outputs[i] = x
        return outputs


class DisparityHeads(nn.Module):
    """Sigmoid disparity at four scales, each from one decoder block (Godard et al. 2019)."""

    bias: float = 0.0  # initial bias: training from scratch starts with disparity sigmoid(bias)
    last: int = 0  # finest decoder block; finer scales are its disparity, upsampled

    def setup(self):
        for scale in range(self.last, 4):
            bias_init = nn.initializers.constant(self.bias)
            head = Conv(1, (3, 3), padding="REFLECT", bias_init=bias_init, dtype=jnp.float32)
            setattr(self, f"scale{scale}", head)

    def __call__(self, outputs: Mapping[int, jax.Array]) -> tuple[jax.Array, ...]:
        """Outputs of blocks 0..3 → disparities [B, H / 2^s, W / 2^s, 1] in (0, 1), float32, for s = 0..3.

        Always computed in float32: a bfloat16 disparity has only some hundred steps, and warping with it has no useful
        gradient.
        """
        maps = [nn.sigmoid(getattr(self, f"scale{s}")(outputs[s].astype(jnp.float32))) for s in range(self.last, 4)]
        for _ in range(self.last):
            height, width = maps[0].shape[1:3]
            maps.insert(0, resize_bilinear(maps[0], (2 * height, 2 * width)))
        return tuple(maps)


class TaskDecoder(nn.Module):
    """Decoder of one task: `blocks`, the UNetDecoder that `make_blocks` builds, and a subclass's `heads`."""

    make_blocks: Callable[[], UNetDecoder]

    def start(self, features, train: bool, stop: int | None = None):
        """Runs blocks 4..stop, see UNetDecoder."""
        return self.blocks(features, train, stop)

    def resume(self, outputs, x, features, train: bool, first: int):
        """Runs the blocks from `first` to the finest, see UNetDecoder.resume."""
        return self.blocks.resume(outputs, x, features, train, first)


class DepthDecoder(TaskDecoder):
    """Decoder with disparity heads (section 3.1)."""

    disparity_bias: float = 0.0
    last: int = 0  # finest block that exists

    def setup(self):
        self.blocks = self.make_blocks()
        self.heads = DisparityHeads(self.disparity_bias, self.last)

    def disparity(self, outputs):
        """Returns the disparities of scales 0..3 from the blocks' outputs, see DisparityHeads."""
        return self.heads(outputs)
