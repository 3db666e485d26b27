"""Vision Transformers of DINOv2 (Oquab et al. 2024) and DINOv3 (Siméoni et al. 2025): image → tokens of some blocks."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import slice_in_dim

from sdeseg_jax.models.encoders.position_encodings import resize_positions, rotate, rotations
from sdeseg_jax.models.layers import Dropout, Dtype

_init = nn.initializers.truncated_normal(0.02)


@dataclasses.dataclass(frozen=True)
class Shape:
    """One network.

    Attributes:
      channels: of a token.
      blocks, heads: their numbers.
      patch: side of the square of pixels that becomes a token.
      registers: number of tokens beside the class's that belong to no patch (Darcet et al. 2024).
      grid: side of the grid of learned position embeddings; 0: rotary encoding.
      epsilon: of LayerNorm.
      outputs: numbers of the blocks whose tokens are returned.
    """

    channels: int
    blocks: int
    heads: int
    patch: int
    registers: int
    grid: int
    epsilon: float
    outputs: tuple[int, ...]


def layer_norm(epsilon: float, dtype: Dtype, name: str) -> nn.LayerNorm:
    """Returns LayerNorm with statistics as PyTorch computes them: the variance from differences to the mean."""
    return nn.LayerNorm(epsilon, dtype, use_fast_variance=False, name=name)


class Attention(nn.Module):
    """Multi-head self-attention; the softmax is computed in float32."""

    shape: Shape
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x, rotation):
        """Tokens [B, T, C] → [B, T, C]; `rotation` [2, patches, C / heads / 2] of the last tokens, or None."""
        batch, count, channels = x.shape
        heads = (batch, count, self.shape.heads, channels // self.shape.heads)

        def dense(name: str, bias: bool = True):
            return nn.Dense(channels, bias, self.dtype, kernel_init=_init, name=name)

        learned_positions = self.shape.grid > 0
        query, key, value = dense("query")(x), dense("key", learned_positions)(x), dense("value")(x)
        query, key, value = query.reshape(heads), key.reshape(heads), value.reshape(heads)
        if rotation is not None:
            query, key = (_rotate_last(one, rotation) for one in (query, key))
        scores = jnp.einsum("bqhc,bkhc->bhqk", query, key, preferred_element_type=jnp.float32)
        weights = nn.softmax(scores * heads[3] ** -0.5, axis=-1).astype(self.dtype)
        mixed = jnp.einsum("bhqk,bkhc->bqhc", weights, value)
        return dense("project")(mixed.reshape(batch, count, channels))


def _rotate_last(x, rotation):
    """Rotates the last tokens of [B, T, heads, C], those of the patches."""
    first = x.shape[1] - rotation.shape[1]  # no indexing: it would gather if the batch size is symbolic
    rotated = rotate(slice_in_dim(x, first, None, axis=1), rotation)
    return jnp.concatenate([slice_in_dim(x, 0, first, axis=1), rotated], axis=1)


class Block(nn.Module):
    """Attention and a perceptron, each normalised before, scaled by channel after, and added to the tokens."""

    shape: Shape
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32
    batch_axis: str | None = None

    @nn.compact
    def __call__(self, x, rotation, train: bool):
        """Tokens [B, T, C] → [B, T, C]; `train` needs an rng named 'dropout' unless `drop_path` is 0."""
        channels = x.shape[-1]

        def add(number: int, branch):
            scale = self.param(f"scale{number}", nn.initializers.ones_init(), (channels,), jnp.float32)
            branch = branch * scale.astype(self.dtype)
            drop = Dropout(self.drop_path, self.batch_axis, whole_samples=True, name=f"drop_path{number}")
            return x + drop(branch, train)

        def norm(number: int):
            return layer_norm(self.shape.epsilon, self.dtype, f"norm{number}")(x)

        x = add(1, Attention(self.shape, self.dtype, name="attention")(norm(1), rotation))
        inner = nn.Dense(4 * channels, dtype=self.dtype, kernel_init=_init, name="expand")(norm(2))
        inner = nn.gelu(inner, approximate=False)
        return add(2, nn.Dense(channels, dtype=self.dtype, kernel_init=_init, name="reduce")(inner))


class VisionTransformer(nn.Module):
    """Normalised images → tokens of the patches after some blocks, normalised by the network's last LayerNorm.

    Attributes:
      shape: of the network.
      drop_path: rate at which a sample skips the last block's branches while it is trained; the rates of the blocks
        before grow from 0 (Huang et al. 2016).
      remat: recompute blocks in the backward pass.
      dtype: compute dtype.
      batch_axis: mapped axis over which the batch is split, or None.
    """

    shape: Shape
    drop_path: float = 0.0
    remat: bool = False
    dtype: Dtype = jnp.float32
    batch_axis: str | None = None

    @nn.compact
    def __call__(self, images, train: bool) -> tuple[jax.Array, ...]:
        """Images [B, h * patch, w * patch, 3] → for every block of `shape.outputs`, tokens [B, h, w, C]."""
        shape, batch = self.shape, images.shape[0]
        patches = nn.Conv(
            shape.channels,
            (shape.patch, shape.patch),
            strides=shape.patch,
            padding="VALID",
            dtype=self.dtype,
            kernel_init=nn.initializers.lecun_normal(),
            name="patches",
        )(images)
        grid = patches.shape[1:3]
        x, rotation = patches.reshape(batch, grid[0] * grid[1], shape.channels), None
        before = self.param("class_token", _init, (1, shape.channels), jnp.float32)
        if shape.grid:
            positions = self.param("positions", _init, (1 + shape.grid**2, shape.channels), jnp.float32)
            x = x + resize_positions(positions[1:], grid, antialias=shape.registers > 0).astype(self.dtype)
            before = before + positions[:1]
        else:
            rotation = rotations(grid, shape.channels // shape.heads)
        if shape.registers:
            registers = self.param("registers", _init, (shape.registers, shape.channels), jnp.float32)
            before = jnp.concatenate([before, registers])
        x = jnp.concatenate([jnp.broadcast_to(before.astype(self.dtype), (batch, *before.shape)), x], axis=1)
        make = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        norm, outputs = layer_norm(shape.epsilon, self.dtype, "norm"), []
        for number in range(shape.blocks):
            rate = self.drop_path * number / max(1, shape.blocks - 1)
            x = make(shape, rate, self.dtype, self.batch_axis, name=f"block{number}")(x, rotation, train)
            if number in shape.outputs:
                tokens = slice_in_dim(norm(x), len(before), None, axis=1)
                outputs.append(tokens.reshape(batch, *grid, shape.channels))
        return tuple(outputs)
