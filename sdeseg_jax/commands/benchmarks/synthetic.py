"""Synthetic batches and views, the same in every run."""

import numpy as np

from sdeseg_jax.config import mixes_by_stored_disparity, uses_pool

CLASSES = 19
"""Number of classes in the labels."""


def _waves(rng, shape: tuple[int, ...], crop: tuple[int, int], periods: float = 6.0) -> np.ndarray:
    """Returns smooth random images in [0, 1], [*shape, H, W, 3]: a small difference in motion changes them little."""
    v, u = np.mgrid[: crop[0], : crop[1]].astype(np.float32)
    angles = rng.uniform(0.5, periods, (2, *shape, 1, 1, 3)) * 2 * np.pi / crop[1]
    phase = rng.uniform(0, 2 * np.pi, (*shape, 1, 1, 3))
    return (0.5 + 0.5 * np.sin(angles[0] * u[..., None] + angles[1] * v[..., None] + phase)).astype(np.float32)


def make_batches(config, devices: int, batch: int) -> dict:
    """Returns batches of `train` as the pipeline gives them, with images as bytes.

    Returns:
      NumPy arrays [devices, batch, ...] of "labeled" and, if the config uses it, "pool".
    """
    rng, (height, width), shape = np.random.default_rng(0), config.data.crop, (devices, batch)

    def frames(**extra) -> dict:
        images = {name: _waves(rng, shape, (height, width)) for name in ("image", "prev_image", "next_image")}
        blocks = rng.integers(0, CLASSES + 1, (*shape, height // 16, width // 16))
        label = np.where(blocks == CLASSES, 255, blocks).astype(np.uint8)  # partly void
        return {
            **{name: (255 * image).astype(np.uint8) for name, image in images.items()},
            "intrinsics": np.tile(_intrinsics(height, width), (*shape, 1, 1)),
            "label": np.kron(label, np.ones((16, 16), np.uint8)),
            **extra,
        }

    batches = {"labeled": frames()}
    if uses_pool(config.segmentation):
        batches["pool"] = frames(is_labeled=rng.random(shape) < 0.1)
    if mixes_by_stored_disparity(config.segmentation):
        batches["pool"]["disparity"] = _waves(rng, shape, (height, width))[..., :1]
    return batches


def _intrinsics(height: int, width: int) -> np.ndarray:
    return np.array([[0.8 * width, 0, (width - 1) / 2], [0, 0.8 * width, (height - 1) / 2], [0, 0, 1]], np.float32)


def make_views(crop: tuple[int, int], batch: int, scales: int = 4) -> dict:
    """Returns a scene and its two neighbouring views for the depth loss.

    Returns:
      NumPy arrays: `target` [B, H, W, 3] and `sources` [2, B, H, W, 3] in [0, 1], `intrinsics` [B, 3, 3] in pixels,
      `transforms` [2, B, 4, 4], `noise` [2, B, H, W], and `disparities`, entry s [B, H / 2^s, W / 2^s, 1] in (0, 1).
    """
    from sdeseg_jax.depth.rigid_transforms import pose_to_transform

    rng, (height, width) = np.random.default_rng(0), crop
    axisangle = rng.uniform(-0.01, 0.01, (2, batch, 3)).astype(np.float32)
    translation = (rng.uniform(-0.05, 0.05, (2, batch, 3)) + [0, 0, 0.3]).astype(np.float32)
    return {
        "target": _waves(rng, (batch,), crop),
        "sources": _waves(rng, (2, batch), crop),
        "intrinsics": np.tile(_intrinsics(height, width), (batch, 1, 1)),
        "transforms": np.asarray(pose_to_transform(axisangle, translation)),
        "noise": (1e-5 * rng.standard_normal((2, batch, height, width))).astype(np.float32),
        "disparities": tuple(
            0.01 + 0.05 * _waves(rng, (batch,), (height >> s, width >> s), 3.0)[..., :1] for s in range(scales)
        ),
    }
