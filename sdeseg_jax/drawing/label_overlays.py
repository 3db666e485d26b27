"""Colours of classes: label maps as pictures, and overlays on images."""

from collections.abc import Sequence

import numpy as np

from sdeseg_jax.drawing.disparity_and_error_colors import UNKNOWN

Colors = Sequence[tuple[int, int, int]]
"""RGB of each train id."""


def colorize_labels(label: np.ndarray, colors: Colors) -> np.ndarray:
    """Maps train ids [H, W] to their colours, void and unknown ids to black; uint8 [H, W, 3]."""
    palette = np.full((256, 3), UNKNOWN, np.uint8)
    palette[: len(colors)] = colors
    return palette[np.asarray(label).astype(np.uint8)]


def overlay_labels(image: np.ndarray, label: np.ndarray, colors: Colors) -> np.ndarray:
    """Returns an image uint8 [H, W, 3] and the colours of its label map [H, W], half and half; uint8 [H, W, 3]."""
    return ((image.astype(np.uint16) + colorize_labels(label, colors)) // 2).astype(np.uint8)
