"""The self-supervised depth loss over all scales and source frames (Sec. 3.1)."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from sdeseg_jax.depth.camera import disparity_to_depth
from sdeseg_jax.depth.loss_terms import edge_aware_smoothness, mean_normalize
from sdeseg_jax.depth.photometric_error import minimum_reprojection, photometric_error
from sdeseg_jax.depth.warping import warp


@dataclasses.dataclass(frozen=True)
class SelfSupervisedDepthLoss:
    """Settings of the loss; the defaults are the paper's."""

    min_depth: float = 0.1
    max_depth: float = 100.0
    smoothness_weight: float = 1e-3
    automask: bool = True


@struct.dataclass
class DepthLossValue:
    """The loss and its parts.

    Attributes:
      loss: scalar, the mean over scales.
      per_scale: [S].
      warped_share: scalar, share of pixels (finest scale) where a warped frame beat the unwarped ones. Near 0, depth
        and pose explain nothing; without automask it is 1 by definition.
    """

    loss: Array
    per_scale: Array
    warped_share: Array


def image_pyramid(image: Array, scales: int) -> list[Array]:
    """Halves [B, H, W, C] repeatedly by 2x2 averages; entry s is [B, H / 2^s, W / 2^s, C]."""
    levels = [image]
    for _ in range(scales - 1):
        batch, height, width, channels = levels[-1].shape
        blocks = levels[-1].reshape(batch, height // 2, 2, width // 2, 2, channels)
        levels.append(jnp.mean(blocks, axis=(2, 4)))
    return levels


def tie_breaking_noise(keys: Array, frames: int, height: int, width: int) -> Array:
    """Returns N(0, 1) * 1e-5 for the unwarped frames' error, with a key per image to be the same on any device.

    Args:
      keys: [B] typed PRNG keys.

    Returns:
      [frames, B, H, W].
    """
    noise = jax.vmap(lambda key: jax.random.normal(key, (frames, height, width)))(keys)
    return 1e-5 * jnp.swapaxes(noise, 0, 1)


def self_supervised_depth_loss(
    settings: SelfSupervisedDepthLoss,
    disparities: Sequence[Array],
    transforms: Array,
    target: Array,
    sources: Array,
    intrinsics: Array,
    noise: Array | None = None,
    pyramid: Sequence[Array] | None = None,
) -> DepthLossValue:
    """Returns the photometric loss of the sources warped into the target at every scale, plus smoothness (Eq. 1).

    Every scale is resized to full resolution before warping, which keeps low scales from copying texture.

    Args:
      settings: weights and depth range.
      disparities: sigmoid outputs, entry s of shape [B, H / 2^s, W / 2^s, 1].
      transforms: target camera -> source camera, [F, B, 4, 4].
      target: [B, H, W, 3] in [0, 1], without photometric augmentation.
      sources: the F source frames, [F, B, H, W, 3].
      intrinsics: [B, 3, 3] in pixels of the images.
      noise: see `tie_breaking_noise`; optional.
      pyramid: the target at every scale, for the smoothness term; by default 2x2 averages.
    """
    batch, height, width, _ = target.shape
    scales = len(disparities)
    pyramid = image_pyramid(target, scales) if pyramid is None else pyramid

    full = [jax.image.resize(disparity, (batch, height, width, 1), "bilinear") for disparity in disparities]
    depth = disparity_to_depth(jnp.stack(full), settings.min_depth, settings.max_depth)

    # One image after the other, with its maps computed again in the backward pass: all together they take a quarter of
    # a gigabyte per image of 512 x 512 pixels, and moving them through memory took longer than computing them again.
    @jax.checkpoint
    def reprojection_error(source, transform, depth):
        return photometric_error(warp(source, depth, transform, intrinsics), target)

    error = jax.lax.map(
        lambda frame: jax.lax.map(lambda depth: reprojection_error(*frame, depth), depth), (sources, transforms)
    )  # [F, S, B, H, W]
    unwarped = photometric_error(sources, target)[:, None] if settings.automask else None
    error, won = minimum_reprojection(error, unwarped, None if noise is None else noise[:, None])
    photometric = jnp.mean(error, axis=(1, 2, 3))
    smoothness = jnp.stack(
        [
            edge_aware_smoothness(mean_normalize(disparity), image) / 2**scale
            for scale, (disparity, image) in enumerate(zip(disparities, pyramid, strict=True))
        ]
    )
    per_scale = photometric + settings.smoothness_weight * smoothness
    return DepthLossValue(jnp.mean(per_scale), per_scale, jnp.mean(won[0]))
