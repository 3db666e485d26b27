"""Pieces that several networks share: normalisation and the fields for compute precision."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

Dtype = Any


def batch_norm(dtype: Dtype, axis_name: str | None) -> nn.BatchNorm:
    """BatchNorm with PyTorch's constants (eps 1e-5, running statistics keep 0.9 of the old value).

    Args:
      dtype: compute dtype of the output; statistics and parameters are float32 whatever it is.
      axis_name: mapped axis over which the batch statistics are averaged (synchronised BatchNorm), or None.
    """
    return nn.BatchNorm(momentum=0.9, epsilon=1e-5, dtype=dtype, axis_name=axis_name)


class ConvNorm(nn.Module):
    """Convolution without bias → BatchNorm → optional ReLU.

    Padding is explicit, `dilation * (kernel - 1) / 2` on every side as in PyTorch: XLA's 'SAME' pads a strided
    convolution on the other side, which shifts the features by a pixel against the published weights.
    """

    features: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    relu: bool = True
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    def setup(self):
        padding = self.dilation * (self.kernel - 1) // 2
        self.conv = nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            strides=self.stride,
            padding=((padding, padding), (padding, padding)),
            kernel_dilation=self.dilation,
            use_bias=False,
            # He et al. 2015, on the outputs: what torchvision's ResNets start from.
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            dtype=self.dtype,
        )
        self.norm = batch_norm(self.dtype, self.axis_name)

    def __call__(self, x, train: bool):
        """[B, H, W, C] → [B, H / stride, W / stride, features]; `train` normalises with the batch's statistics."""
        x = self.norm(self.conv(x), use_running_average=not train)
        return nn.relu(x) if self.relu else x
