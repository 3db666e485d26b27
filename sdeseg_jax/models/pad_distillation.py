"""PAD: attention-guided distillation between the depth and the segmentation decoder (section 3.3, after Xu 2018)."""

import flax.linen as nn
import jax.numpy as jnp

from sdeseg_jax.models.layers import Conv, Dtype


class AttentionGate(nn.Module):
    """Message from one task to the other: conv(f) · sigmoid(attention(f)), both 3×3 without bias.

    The attention starts at zero, so that every gate starts half open.
    """

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        """[B, H, W, C] → [B, H, W, C]."""
        channels = x.shape[-1]
        common = {"padding": 1, "use_bias": False, "dtype": self.dtype}
        message = Conv(channels, (3, 3), name="conv", **common)(x)
        attention = Conv(channels, (3, 3), kernel_init=nn.initializers.zeros, name="attention", **common)(x)
        return message * nn.sigmoid(attention)


class Distillation(nn.Module):
    """Adds each task's gated features to the other task's.

    Parameters are named after the task that they feed, and train with its learning rate: `to_depth`, `to_segmentation`.
    """

    dtype: Dtype = jnp.float32

    def setup(self):
        self.to_depth = AttentionGate(self.dtype)
        self.to_segmentation = AttentionGate(self.dtype)

    def __call__(self, depth, segmentation):
        """Features [B, H, W, C] of both tasks → the same two after the exchange."""
        return depth + self.to_depth(segmentation), segmentation + self.to_segmentation(depth)
