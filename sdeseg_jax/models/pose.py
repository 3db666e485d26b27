"""Ego-motion network: two frames → the camera's motion between them (section 3.1, after Godard et al. 2019)."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from sdeseg_jax.models.encoders import make_encoder
from sdeseg_jax.models.layers import Conv, Dtype

# PyTorch's default for convolutions; small weights keep the first poses near zero motion.
_small_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


@flax.struct.dataclass
class Pose:
    """Relative camera motion from the first frame of a pair to the second.

    Attributes:
      axisangle: [B, 3] float32, rotation axis times angle in radians.
      translation: [B, 3] float32, in the depth's unit (metres up to the unknown scale of monocular depth).
    """

    axisangle: jax.Array
    translation: jax.Array


class PoseDecoder(nn.Module):
    """Encoder's last feature → pose; its 12 outputs are two poses, the second of them unused (as published)."""

    features: int = 256
    dtype: Dtype = jnp.float32

    def setup(self):
        common = {"kernel_init": _small_init, "dtype": self.dtype}
        self.squeeze = Conv(self.features, (1, 1), **common)
        self.conv1 = Conv(self.features, (3, 3), padding=1, **common)
        self.conv2 = Conv(self.features, (3, 3), padding=1, **common)
        # In float32: small changes of the output, which is scaled by 0.01, move pixels.
        self.out = Conv(12, (1, 1), kernel_init=_small_init, dtype=jnp.float32)

    def __call__(self, x):
        """[B, H, W, C] → [B, 6] float32: axis-angle and translation."""
        x = nn.relu(self.squeeze(x))
        x = nn.relu(self.conv2(nn.relu(self.conv1(x))))
        return 0.01 * jnp.mean(self.out(x.astype(jnp.float32)), axis=(1, 2))[:, :6]


class PoseNetwork(nn.Module):
    """Encoder of a pair of frames, stacked on the channel axis, and the pose decoder."""

    backbone: str = "resnet18"
    width: float = 1.0
    rotation_scale: float = 1.0
    translation_bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    remat: bool = False
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    def setup(self):
        common = {"remat": self.remat, "dtype": self.dtype, "axis_name": self.axis_name}
        self.encoder = make_encoder(self.backbone, width=self.width, output_stride=32, **common)
        self.decoder = PoseDecoder(max(1, round(256 * self.width)), self.dtype)

    def __call__(self, first, second, train: bool) -> Pose:
        """Images [B, H, W, 3] in [0, 1], earlier frame first → Pose."""
        pair = jnp.concatenate([first, second], axis=-1)
        motion = self.decoder(self.encoder(pair, train)[-1])
        bias = jnp.asarray(self.translation_bias, jnp.float32)
        return Pose(axisangle=self.rotation_scale * motion[:, :3], translation=motion[:, 3:] + bias)
