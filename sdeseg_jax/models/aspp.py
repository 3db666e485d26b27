"""Atrous spatial pyramid pooling (Chen et al. 2017), the head of both decoders: paper section 4.2."""

import flax.linen as nn
import jax.numpy as jnp

from sdeseg_jax.models.layers import ConvNorm, Dropout, Dtype


class ASPP(nn.Module):
    """1×1, dilated 3×3 and image-level branches, concatenated and projected."""

    features: int
    rates: tuple[int, ...] = (6, 12, 18)
    dropout: float = 0.5
    dtype: Dtype = jnp.float32
    axis_name: str | None = None
    batch_axis: str | None = None  # over which the batch is split, see Dropout

    def setup(self):
        common = {"dtype": self.dtype, "axis_name": self.axis_name}
        self.pointwise = ConvNorm(self.features, **common)
        self.dilated = [ConvNorm(self.features, 3, dilation=rate, **common) for rate in self.rates]
        self.pooled = ConvNorm(self.features, **common)
        self.project = ConvNorm(self.features, **common)
        self.drop = Dropout(self.dropout, self.batch_axis)

    def __call__(self, x, train: bool):
        """[B, H, W, C] → [B, H, W, features]; `train` needs an rng named 'dropout' unless dropout is 0."""
        # Mean in float32: bfloat16 sums lose small terms.
        pooled = jnp.mean(x, axis=(1, 2), keepdims=True, dtype=jnp.float32).astype(self.dtype)
        pooled = self.pooled(pooled, train)
        branches = [self.pointwise(x, train), *(branch(x, train) for branch in self.dilated)]
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        x = self.project(jnp.concatenate(branches, axis=-1), train)
        return self.drop(x, train)
