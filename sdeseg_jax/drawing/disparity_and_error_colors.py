"""Arrays to RGB pictures. Row 0 of an array is the top row of its picture."""

import dataclasses

import numpy as np

NEARNESS = "magma"
"""Colours of disparity and inverse depth: bright is near."""

ERROR = "YlOrRd"
CONFIDENCE = "viridis"
UNKNOWN = (0, 0, 0)
"""Void pixels, and pixels without a true depth."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """One cell of a panel.

    Attributes:
      pixels: uint8 [H, W, 3].
      caption: plain text below it.
      smooth: whether its colours may be blended by resizing.
    """

    pixels: np.ndarray
    caption: str
    smooth: bool = True


def photo(image: np.ndarray) -> np.ndarray:
    """Converts an image [H, W, 3] in [0, 1] to uint8."""
    return np.rint(255 * np.clip(np.nan_to_num(image), 0, 1)).astype(np.uint8)


def colorize(
    values: np.ndarray, low: float, high: float, colormap: str = NEARNESS, known: np.ndarray | None = None
) -> np.ndarray:
    """Maps numbers to colours.

    Args:
      values: [H, W], clipped to low..high.
      low, high: values of the first and the last colour.
      colormap: name of a Matplotlib colour map.
      known: bool [H, W]; pixels that are not known or not finite are black.

    Returns:
      uint8 [H, W, 3].
    """
    finite = np.isfinite(values)
    fraction = (np.where(finite, values, low) - low) / (high - low if high > low else 1.0)
    pixels = _colors(colormap, np.clip(fraction, 0, 1))
    pixels[~finite if known is None else ~(finite & known)] = UNKNOWN
    return pixels


def black_and_white(mask: np.ndarray) -> np.ndarray:
    """Converts a bool mask [H, W] to uint8 [H, W, 3]; true is white."""
    return np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)


def color_ramp(colormap: str) -> np.ndarray:
    """Returns all colours of a colour map from left to right, uint8 [1, 256, 3]."""
    return _colors(colormap, np.arange(256))[None]


def _colors(colormap: str, positions: np.ndarray) -> np.ndarray:
    import matplotlib  # an extra, which predicting labels can do without

    return matplotlib.colormaps[colormap](positions, bytes=True)[..., :3].copy()
